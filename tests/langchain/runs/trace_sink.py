"""A server that takes traces as LangSmith does, and shows what it got."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class TraceSink(ThreadingHTTPServer):
    """Runs by id, each as it stands after all that was sent of it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: dict[str, dict[str, Any]] = {}
        self.starts = 0
        self.ends = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def take(self, posted: list[dict[str, Any]], patched: list[dict[str, Any]]) -> None:
        with self.lock:
            self.starts += len(posted)
            for run in [*posted, *patched]:
                self.ends += run.get("end_time") is not None
                known = self.runs.setdefault(str(run["id"]), {})
                known.update({key: value for key, value in run.items() if value is not None})

    def of_type(self, run_type: str) -> list[dict[str, Any]]:
        return [run for run in self.runs.values() if run.get("run_type") == run_type]


class _Handler(BaseHTTPRequestHandler):
    server: TraceSink

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        # No multipart, no compression: what comes is JSON.
        self._answer({"batch_ingest_config": {"use_multipart_endpoint": False, "size_limit": 100}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/batch"):
            self.server.take(body.get("post") or [], body.get("patch") or [])
        else:
            self.server.take([body], [])
        self._answer({})

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.take([], [{**body, "id": self.path.rsplit("/", 1)[-1]}])
        self._answer({})

    def _answer(self, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def trace_sink() -> Iterator[TraceSink]:
    """A sink that listens on this machine."""
    sink = TraceSink()
    thread = threading.Thread(target=sink.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield sink
    finally:
        sink.shutdown()
        sink.server_close()
        thread.join()
