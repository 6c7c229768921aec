"""A prompt as a query: which terms to look for, and how much each counts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chat_sessions.server.documents.ranking import Ranking
from chat_sessions.server.documents.reading.terms import function_words, word_terms, words

__all__ = ["Query", "query_of"]

_NUMBERED = re.compile(r"\d[^\W\d]|[^\W\d].*\d")
_FUNCTION_WORD = 0.1
_EARLIER = 0.35
_RELATED = 0.5


@dataclass(frozen=True, slots=True)
class Query:
    """`weights` has how much each term counts, beside how rare it is.

    `told` are the terms of the prompt's own words that say something: a passage without any of them does not fit.
    `missing` are those of these words that no passage has, as they are written.
    """

    weights: dict[str, float]
    told: frozenset[str]
    missing: tuple[str, ...]


def query_of(ranking: Ranking, prompt: str, earlier: str = "") -> Query:
    """Make the query of a prompt. The words of the `earlier` one count too, but less: a follow-up leaves them out."""
    weights: dict[str, float] = {}
    told: set[str] = set()
    missing: list[str] = []
    empty = function_words(words(prompt), ranking.languages | {"eng"})
    for word in dict.fromkeys(words(prompt)):
        found = list(_terms(_without_ending(word, ranking), ranking))
        if word.casefold() in ranking.endings and not any(map(ranking.frequency, found)):
            # "The PDF" is not a word that the files lack.
            continue
        if word.casefold() in empty:
            _add(weights, found, _FUNCTION_WORD)
            continue
        if any(map(ranking.frequency, found)):
            _add(weights, found, 1.0)
        else:
            found = [term for part in found for term in ranking.related(part)]
            _add(weights, found, _RELATED)
        told.update(found)
        # The parts of RG-9 are those of other names; only the whole tells.
        if not found or (_NUMBERED.search(word) and not ranking.frequency(found[-1])):
            missing.append(word)
    before = function_words(words(earlier), ranking.languages | {"eng"})
    for word in dict.fromkeys(words(earlier)):
        if word.casefold() not in before:
            _add(weights, _terms(_without_ending(word, ranking), ranking), _EARLIER)
    return Query(weights, frozenset(told), tuple(missing))


def _without_ending(word: str, ranking: Ranking) -> str:
    """Return the name of a file as it is indexed, and any other word as it is."""
    stem, _, ending = word.rpartition(".")
    return stem if stem and ending.casefold() in ranking.endings else word


def _terms(word: str, ranking: Ranking) -> Iterator[str]:
    for language in ranking.languages:
        yield from word_terms(word, language)


def _add(weights: dict[str, float], found: Sequence[str] | Iterator[str], weight: float) -> None:
    for term in found:
        weights[term] = max(weight, weights.get(term, 0.0))
