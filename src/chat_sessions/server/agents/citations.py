"""Citations in a model's answer: a passage's number becomes its file and page; invented numbers are left out."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["Citations"]

# "[1, 3]", "[1-3]"; some models write other brackets.
_CITED = re.compile(r"[\[\u3010](\d{1,3}(?:\s*[,;\u2013-]\s*\d{1,3})*)[\]\u3011]")
_BEGUN = re.compile(r"\s*[\[\u3010][\d,;\u2013\s-]{0,40}\Z")
_RANGE = re.compile(r"(\d+)\s*[\u2013-]\s*(\d+)")


class Citations:
    """Rewrites an answer as it comes. `places` has the file and page of passages 1, 2, … that the model was shown."""

    def __init__(self, places: Sequence[str]) -> None:
        self._places = places
        self._held = ""

    def add(self, text: str) -> str:
        """Add a piece, and return what is certain so far: an incomplete citation is held back."""
        text = self._held + text
        begun = _BEGUN.search(text)
        self._held = text[begun.start() :] if begun else ""
        return _CITED.sub(self._cited, text[: begun.start()] if begun else text)

    def rest(self) -> str:
        """Return what was held back, at the end of the answer."""
        held, self._held = self._held, ""
        return held

    def _cited(self, match: re.Match[str]) -> str:
        written = _RANGE.sub(self._between, match[1])
        numbers = dict.fromkeys(int(number) for number in re.findall(r"\d+", written))
        return " ".join(self._places[number - 1] for number in numbers if 0 < number <= len(self._places))

    def _between(self, match: re.Match[str]) -> str:
        last = min(int(match[2]), len(self._places))
        return ",".join(map(str, range(int(match[1]), last + 1)))
