"""An OpenAI-compatible endpoint on a socket that says what a test wrote down for it."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.loopback_server import LoopbackHandler, LoopbackServer

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

    def __init__(self, answers: Sequence[Sequence[dict[str, Any] | str]], status: int, *, takes_tools: bool) -> None:
        self.answers = answers
        self.status = status
        self.takes_tools = takes_tools
        self.url = ""
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []


def wanted(call_id: str, name: str, arguments: str) -> list[dict[str, Any] | str]:
    """The chunks of an answer that calls a tool, its arguments in two pieces."""
    half = len(arguments) // 2
    first = {"index": 0, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments[:half]}}
    return [
        chunk(None, role="assistant", tool_calls=[first]),
        chunk(None, tool_calls=[{"index": 0, "function": {"arguments": arguments[half:]}}]),
        chunk(finish="tool_calls"),
    ]


@contextmanager
def endpoint(*chunks: dict[str, Any] | str, status: int = 200) -> Generator[Endpoint]:
    """Run an endpoint; its stream ends after the chunks, whatever they are."""
    with endpoint_of(chunks, status=status) as script:
        yield script


@contextmanager
def endpoint_of(
    *answers: Sequence[dict[str, Any] | str], status: int = 200, takes_tools: bool = True
) -> Generator[Endpoint]:
    """Run an endpoint that gives these answers in turn, and the last one from then on.

    Without `takes_tools`, it refuses requests that have some.
    """
    script = Endpoint(answers, status, takes_tools=takes_tools)

    class Handler(LoopbackHandler):
        def respond(self) -> None:
            request = json.loads(self.body())
            script.keys.append(self.headers["Authorization"])
            script.requests.append(request)
            status = 400 if "tools" in request and not script.takes_tools else script.status
            if status != 200:
                self.answer({"error": {"message": f"no: {script.keys[-1]}"}}, status)
                return
            self.send_response(status)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            given = sum("tools" not in one or script.takes_tools for one in script.requests)
            chunks = script.answers[min(given, len(script.answers)) - 1] if script.answers else ()
            for one in chunks:
                self.wfile.write(f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n".encode())

    server = LoopbackServer(Handler)
    script.url = f"{server.url}/v1"
    with server.running():
        yield script
