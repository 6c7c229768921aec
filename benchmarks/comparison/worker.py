"""Asks as one client, case after case, in a process of its own, so that a client that hangs can be ended.

`python -m benchmarks.comparison.worker NAME` reads a JSON object a line and answers each with one.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings

from benchmarks.comparison.cases import FILLER
from benchmarks.comparison.clients import CLIENTS, Answer, Client
from benchmarks.comparison.stages import Question

__all__ = ["FILLED", "main"]

# What stands for the filler, which is too long to hand around.
FILLED = "\N{FULL BLOCK}"


# What Python shows a user by itself, unlike a deprecation deep in a library.
_SHOWN = (UserWarning, RuntimeWarning)


def ask(client: Client, question: Question) -> dict[str, object]:
    """What the reader saw: the pieces, the client's own text, the error, a warning, seconds from the first
    piece to the last."""
    shown: list[str] = []
    times: list[float] = []

    def show(piece: str) -> None:
        if piece:
            times.append(time.monotonic())
            shown.append(piece.replace(FILLER, FILLED))

    answer = Answer(show)
    error: Exception | None = None
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            client.ask(question, answer)
        except Exception as raised:  # noqa: BLE001 - what a client raises is what is asked for
            error = raised
    return {
        "shown": "".join(shown),
        "text": None if answer.text is None else answer.text.replace(FILLER, FILLED),
        "error": None if error is None else f"{type(error).__module__}.{type(error).__qualname__}",
        "message": None if error is None else str(error)[:200],
        "warning": next((str(item.message)[:200] for item in warned if item.category in _SHOWN), None),
        "spread": times[-1] - times[0] if times else 0.0,
    }


def main() -> None:
    """Serve the client that the arguments name."""
    client = next(client for client in CLIENTS if client.name == sys.argv[1])
    # What the libraries print is not an answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(ask(client, Question(**json.loads(line)))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
