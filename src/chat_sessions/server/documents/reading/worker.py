"""The process that reads documents, one after the other: bytes in, parts out, nothing opened and nothing connected.

A request is a line of JSON with the number of bytes that follow it; so is an answer. Whatever a document does to a
library here, to crash it or to fill the memory, ends this process alone.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import Any, BinaryIO

__all__ = ["MAX_MEMORY_BYTES", "main"]

MAX_MEMORY_BYTES = 2 * 1024**3
"""How much memory one process may take, where the system keeps to it (Linux does)."""


def main() -> None:
    """Serve requests on stdin until it ends."""
    _limit()
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # A library that prints must not write into the answers.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout = sys.stderr
    while line := requests.readline():
        request = json.loads(line)
        data = requests.read(request["size"])
        try:
            _serve(request, data, answers)
        except MemoryError:
            _answer(answers, {"failure": memory_failure()})
        except Exception as error:  # noqa: BLE001 (a library may raise anything over a hostile file)
            _answer(answers, {"failure": _reason(error)})


def memory_failure() -> str:
    """Return the reason for a file that takes more memory than there may be."""
    return f"it takes more than {MAX_MEMORY_BYTES / 1024**3:.2g} GB of memory to read"


def _serve(request: dict[str, Any], data: bytes, answers: BinaryIO) -> None:
    if request["task"] == "draw":
        from chat_sessions.server.documents.reading.formats.pdf import draw_page

        picture = draw_page(data, request["page"], request["side"])
        _answer(answers, {}, picture)
        _answer(answers, {"end": True})
        return
    from chat_sessions.server.documents.reading.documents import read

    for part in read(data, request["name"]):
        _answer(
            answers,
            {
                "passages": [
                    [passage.page, passage.section, passage.text, " ".join(found), passage.boxes]
                    for passage, found in part.passages
                ],
                "sheets": [dataclasses.astuple(sheet) for sheet in part.sheets],
                "notes": part.notes,
                "language": part.language,
                "done": part.done,
                "total": part.total,
            },
        )
    _answer(answers, {"end": True})


def _answer(answers: BinaryIO, answer: dict[str, Any], data: bytes = b"") -> None:
    # Halves of surrogate pairs, which a damaged text can hold, stay apart from UTF-8 in JSON's own escapes.
    answers.write(json.dumps({**answer, "size": len(data)}).encode("ascii") + b"\n" + data)
    answers.flush()


def _reason(error: Exception) -> str:
    from chat_sessions.server.documents.reading.content import Unreadable

    if isinstance(error, Unreadable):
        return str(error)
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return f"it could not be read ({type(error).__name__})"


def _limit() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What is reserved and never used does not count; it does for RLIMIT_AS.
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))


if __name__ == "__main__":
    main()
