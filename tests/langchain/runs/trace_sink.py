"""A server that takes traces as LangSmith does, and shows what it got."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.loopback_server import LoopbackHandler, LoopbackServer


class TraceSink(LoopbackServer):
    """Runs by id, each as it stands after all that was sent of it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.runs: dict[str, dict[str, Any]] = {}
        self.starts = 0
        self.ends = 0
        self.lock = threading.Lock()

    def take(self, posted: list[dict[str, Any]], patched: list[dict[str, Any]]) -> None:
        with self.lock:
            self.starts += len(posted)
            for run in [*posted, *patched]:
                self.ends += run.get("end_time") is not None
                known = self.runs.setdefault(str(run["id"]), {})
                known.update({key: value for key, value in run.items() if value is not None})

    def of_type(self, run_type: str) -> list[dict[str, Any]]:
        return [run for run in self.runs.values() if run.get("run_type") == run_type]


class _Handler(LoopbackHandler):
    server: TraceSink

    def respond(self) -> None:
        if self.command == "GET":
            # No multipart, no compression: what comes is JSON.
            self.answer({"batch_ingest_config": {"use_multipart_endpoint": False, "size_limit": 100}})
            return
        body = json.loads(self.body())
        if self.command == "PATCH":
            self.server.take([], [{**body, "id": self.path.rsplit("/", 1)[-1]}])
        elif self.path.endswith("/batch"):
            self.server.take(body.get("post") or [], body.get("patch") or [])
        else:
            self.server.take([body], [])
        self.answer({})


@contextmanager
def trace_sink() -> Iterator[TraceSink]:
    """A sink that listens on this machine."""
    sink = TraceSink()
    with sink.running():
        yield sink
