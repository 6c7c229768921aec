"""What a case came to, judged by what the reader saw and what the service saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.comparison.cases import CUT_AT, Case, pieces
from benchmarks.comparison.stages import Seen
from benchmarks.comparison.worker import FILLED

__all__ = ["Kind", "Outcome", "Saw", "judge"]

Kind = Literal["whole", "corrected", "error", "cut short", "empty", "doubled", "altered", "swallowed", "hangs"]


@dataclass(frozen=True)
class Saw:
    """What a worker tells of one answer: see `benchmarks.comparison.worker.ask`."""

    shown: str
    text: str | None
    error: str | None
    message: str | None
    warning: str | None
    spread: float


@dataclass(frozen=True)
class Outcome:
    """What a reader got.

    `kind`: "whole", once; "corrected", shown otherwise but whole in the client's own text at the end; "error", whose
    class is `error`; "cut short", "empty", "doubled", "altered" or "swallowed" (text of any size, taken as it came),
    each without an error; "hangs". `posts`: how often the prompt was sent; `answers`: how many were begun to it.
    """

    kind: Kind
    posts: int
    answers: int
    error: str | None = None
    message: str | None = None
    warned: bool = False
    true_beginning: bool = True
    live: bool = False

    @property
    def is_wrong(self) -> bool:
        """Whether the reader has something else than the answer, and no error says so."""
        return self.kind in ("cut short", "empty", "doubled", "altered")


def judge(case: Case, saw: Saw | None, seen: Seen, *, pause: float) -> Outcome:
    """The outcome; `saw` is None for a client that did not come to an end."""
    if saw is None:
        return Outcome("hangs", seen.posts, seen.answers)
    return Outcome(
        "error" if saw.error is not None else _kind(case, saw),
        seen.posts,
        seen.answers,
        error=None if saw.error is None else _short(saw.error),
        message=saw.message,
        warned=saw.warning is not None,
        true_beginning=case.answer.startswith(saw.shown),
        live=saw.spread > pause / 2,
    )


def _kind(case: Case, saw: Saw) -> Kind:
    shown, answer = saw.shown, case.answer
    said = pieces(answer)
    if shown == answer:
        return "whole" if saw.text in (None, answer) else "altered"
    if saw.text == answer:
        return "corrected"
    if not shown:
        return "empty"
    if answer.startswith(shown):
        return "cut short"
    if shown == "".join([*said[: CUT_AT + 1], *said[CUT_AT:]]):
        return "doubled"
    return "swallowed" if shown.replace(FILLED, "") == answer else "altered"


def _short(name: str) -> str:
    """The class with the package that it comes from: "httpx.ReadTimeout"."""
    return name.rpartition(".")[2] if name.startswith("builtins.") else f"{name.split('.')[0]}.{name.split('.')[-1]}"
