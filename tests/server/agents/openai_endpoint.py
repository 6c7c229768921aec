"""An OpenAI-compatible endpoint on a socket that says what a test wrote down for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DONE = "[DONE]"


def chunk(content: str | None = None, *, finish: str | None = None, **delta: object) -> dict[str, Any]:
    """A chunk of a streamed answer."""
    fields = delta if content is None else {"content": content, **delta}
    choice = {"index": 0, "delta": fields, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "small", "choices": [choice]}


def tokens(taken_in: int, given_out: int) -> dict[str, Any]:
    """The last chunk, with what the answer cost."""
    usage = {"prompt_tokens": taken_in, "completion_tokens": given_out, "total_tokens": taken_in + given_out}
    return {**chunk(), "choices": [], "usage": usage}


class Endpoint:
    """What was asked, and what is answered: chunks in order, or a status."""

    def __init__(self, chunks: Sequence[dict[str, Any] | str], status: int) -> None:
        self.chunks = chunks
        self.status = status
        self.url = ""
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []


@contextmanager
def endpoint(*chunks: dict[str, Any] | str, status: int = 200) -> Generator[Endpoint]:
    """Run an endpoint; its stream ends after the chunks, whatever they are."""
    script = Endpoint(chunks, status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            script.keys.append(self.headers["Authorization"])
            script.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(script.status)
            self.send_header("Content-Type", "text/event-stream" if script.status == 200 else "application/json")
            self.end_headers()
            if script.status != 200:
                self.wfile.write(json.dumps({"error": {"message": f"no: {script.keys[-1]}"}}).encode())
                return
            for one in script.chunks:
                self.wfile.write(f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n".encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
