"""Processes that read documents for this one, with deadlines: a file that hangs or crashes one costs that file."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = [
    "DRAWING_SECONDS",
    "MAX_SECONDS",
    "SILENT_SECONDS",
    "Passage",
    "Reader",
    "Reading",
    "Sheet",
    "Stopped",
    "command",
]

SILENT_SECONDS = 60.0
"""How long a reader may work on one part of a file, such as 20 pages of a PDF."""

MAX_SECONDS = 600.0
"""How long it may take over a whole file. What was read until then is kept."""

DRAWING_SECONDS = 20.0
"""How long drawing one page may take."""

_PACKAGE = Path(__file__).parents[2]
# `chat_sessions` and `chat_sessions.server` import what a reader does not need, so empty modules stand in for them.
_BOOTSTRAP = """\
import sys, types
for name, path in zip(("chat_sessions", "chat_sessions.server", "chat_sessions.server.documents"), sys.argv[1:]):
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = [path]
from chat_sessions.server.documents.reading.worker import main
main()
"""


class Stopped(Exception):
    """Reading was ended from outside."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage as it was read: its page, if the document has pages, its section, and the terms that find it.

    `boxes` are where it is on its page, in points from the top left corner: x, y, width, height. Empty if that is not
    known.
    """

    page: int | None
    section: str
    text: str
    terms: str
    boxes: Sequence[Sequence[float]] = ()


@dataclass(frozen=True, slots=True)
class Sheet:
    """A page with a number: its text, and its size in points, 0 if it cannot be drawn."""

    number: int
    text: str
    width: float
    height: float

    @property
    def side(self) -> float:
        """Its longer side."""
        return max(self.width, self.height)


@dataclass(slots=True)
class Reading:
    """What was read of a file. `failure` says why nothing was read, `notes` are remarks on what was read."""

    language: str = ""
    passages: list[Passage] = field(default_factory=list[Passage])
    sheets: list[Sheet] = field(default_factory=list[Sheet])
    notes: list[str] = field(default_factory=list[str])
    failure: str | None = None


def command() -> list[str]:
    """Return the command line of a reader."""
    folders = [_PACKAGE, _PACKAGE / "server", _PACKAGE / "server" / "documents"]
    # -P and -I would hide what is installed for the user alone, and a test's coverage.
    return [sys.executable, "-P", "-c", _BOOTSTRAP, *map(str, folders)]


class Reader:
    """One reading process, started when it is first needed and again after each that had to be ended.

    Not for several threads at a time; `close` may be called from any, and ends a reading that is under way.
    """

    def __init__(self, *, silent: float | None = None, longest: float | None = None) -> None:
        self._silent = silent
        self._longest = longest
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def read(self, data: bytes, name: str) -> Reading:
        """Read a document. Never raises for its content: see `Reading.failure`. Raises `Stopped` after `close`."""
        # Read here, so that a test can change them.
        silent = SILENT_SECONDS if self._silent is None else self._silent
        longest = MAX_SECONDS if self._longest is None else self._longest
        reading = Reading()
        done = total = 0
        for answer in self._ask({"task": "read", "name": name}, data, silent, longest):
            if "failure" in answer:
                if not reading.passages:
                    reading.failure = answer["failure"]
                else:
                    share = f"only the first {done} of its {total} pages were" if total > 1 else "only a first part was"
                    reading.notes.append(f"{share} read: {answer['failure']}")
                break
            reading.language = answer["language"]
            reading.passages += [Passage(*passage) for passage in answer["passages"]]
            reading.sheets += [Sheet(*sheet) for sheet in answer["sheets"]]
            reading.notes += answer["notes"]
            done, total = answer["done"], answer["total"]
        if not reading.passages and reading.failure is None:
            reading.failure = "; ".join(reading.notes) or "it has no text"
        return reading

    def draw(self, data: bytes, number: int, side: float) -> bytes | None:
        """Return a page of a PDF file as a JPEG, or None if it cannot be drawn in time. Raises `Stopped`."""
        request = {"task": "draw", "page": number, "side": side}
        answers = list(self._ask(request, data, DRAWING_SECONDS, DRAWING_SECONDS))
        return answers[0].get("data")

    def close(self) -> None:
        """End the process. May be called again."""
        self._closed = True
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: dict[str, Any], data: bytes, silent: float, longest: float) -> Iterator[dict[str, Any]]:
        """Send a request, and yield the answers to it. The last one has a `failure`, or nothing follows it."""
        process = self._running()
        timer = _Deadline(process, silent, longest)
        try:
            with contextlib.suppress(OSError):
                _send(process, {**request, "size": len(data)}, data)
            while answer := _answer(process):
                if answer.get("end"):
                    return
                yield answer
                if "failure" in answer:
                    return
                timer.restart()
        finally:
            timer.stop()
        if self._closed:
            raise Stopped
        self._end()
        yield {"failure": timer.passed or _why(process)}

    def _running(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise Stopped
            if self._process is None:
                self._process = subprocess.Popen(  # noqa: S603 (of this package alone)
                    command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )
            return self._process

    def _end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in filter(None, (process.stdin, process.stdout)):
                # What it did not take is written when its pipe is closed.
                with contextlib.suppress(OSError):
                    pipe.close()


class _Deadline:
    """Kills a process that answers too late. `passed` is then the reason."""

    def __init__(self, process: subprocess.Popen[bytes], silent: float, longest: float) -> None:
        self._process = process
        self._silent = silent
        self._longest = longest
        self._end = time.monotonic() + longest
        self.passed = ""
        self._timer = self._started()

    def restart(self) -> None:
        """Wait anew for the next answer."""
        self._timer.cancel()
        self._timer = self._started()

    def stop(self) -> None:
        """Wait no longer."""
        self._timer.cancel()

    def _started(self) -> threading.Timer:
        left = self._end - time.monotonic()
        seconds, reason = min((self._silent, self._silent), (max(left, 0.0), self._longest))
        timer = threading.Timer(seconds, self._pass, (f"it takes longer than {reason:g} s",))
        timer.daemon = True
        timer.start()
        return timer

    def _pass(self, reason: str) -> None:
        self.passed = reason
        self._process.kill()


def _send(process: subprocess.Popen[bytes], request: dict[str, Any], data: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 (it is a pipe)
    process.stdin.write(json.dumps(request).encode("ascii") + b"\n")
    process.stdin.write(data)
    process.stdin.flush()


def _answer(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Return the next answer, with the bytes that follow it as `data`; {} if the process has ended."""
    assert process.stdout is not None  # noqa: S101 (it is a pipe)
    line = process.stdout.readline()
    answer: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
    if size := answer.get("size"):
        answer["data"] = process.stdout.read(size)
        return answer if len(answer["data"]) == size else {}
    return answer


def _why(process: subprocess.Popen[bytes]) -> str:
    """Return why a process ended by itself: a library that gets no memory aborts."""
    code = process.returncode
    return f"reading it needs too much memory, or crashes the library that reads it (code {code})"
