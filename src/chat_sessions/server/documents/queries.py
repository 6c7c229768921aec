"""A prompt as a query: which terms to look for, and how much each counts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from chat_sessions.server.documents.ranking import LONG, Ranking
from chat_sessions.server.documents.reading.terms import (
    KNOWN_LANGUAGES,
    folded,
    function_words,
    is_unspaced,
    language_asked_in,
    word_terms,
    words,
)

__all__ = ["Query", "is_follow_up", "query_of", "telling_words"]

_NUMBERED = re.compile(r"\d[^\W\d]|[^\W\d].*\d")
_FUNCTION_WORD = 0.1
# A file that is named comes before others that have its name's words.
_NAMED = 5.0
# The total weight of the previous prompt's words, by how many meaningful words the prompt itself has. With more, a
# prompt is complete without them.
_EARLIER = {0: 1.0, 1: 0.5, 2: 0.2}
# A question in a script without spaces is split into pairs of characters, including meaningless ones.
_PAIRS_OF_A_WORD = 6
_RELATED = 0.5
_COMPOUNDING = frozenset(("dan", "deu", "est", "fin", "hun", "nld", "nob", "swe"))


@dataclass(frozen=True, slots=True)
class Query:
    """`weights` has how much each term counts, apart from its rarity.

    `told` are the terms of the prompt's own words that say something: a passage without any of them does not fit.
    `missing` are those of these words that no passage has, as they are written.
    """

    weights: dict[str, float]
    told: frozenset[str]
    missing: tuple[str, ...]


def query_of(ranking: Ranking, prompt: str, earlier: str = "") -> Query:
    """Make the query of a prompt. A follow-up leaves words out: those of the `earlier` prompt count too, but less."""
    weights: dict[str, float] = {}
    told: set[str] = set()
    missing: list[str] = []
    told_words = telling_words(prompt, ranking.languages)
    # A file with few words can be in another language than it seems to be: the question tells which.
    languages = sorted({*ranking.languages, _language(prompt, ranking.languages)})
    for word in dict.fromkeys(words(prompt)):
        found = list(_terms(_without_ending(word, ranking), languages))
        if word.casefold() in ranking.endings and not any(map(ranking.frequency, found)):
            # "The PDF" is not a word that the files lack.
            continue
        if word not in told_words:
            _add(weights, found, _FUNCTION_WORD)
            continue
        if any(map(ranking.frequency, found)):
            _add(weights, found, 1.0)
            # "Kündigungsfrist" may be one of the rent, too: "Mietkündigungsfrist".
            long = {
                term
                for part in _parts(word, languages, alone=False)
                if len(part) >= LONG
                for term in ranking.compounds(part)
            }
            _add(weights, sorted(long), _RELATED)
            found += long
        else:
            found = [term for part in _parts(word, languages) for term in ranking.related(part)]
            _add(weights, found, _RELATED)
        if whole := [term for term in _whole(word, ranking, languages) if ranking.frequency(term)]:
            _add(weights, whole, _NAMED)
            found += whole
        told.update(found)
        # The parts of RG-9 are those of other names; only the whole tells.
        if not found or (_NUMBERED.search(word) and not ranking.frequency(found[-1])):
            missing.append(word)
    if share := _EARLIER.get(_count(told_words)):
        before = telling_words(earlier, ranking.languages)
        for word in before:
            _add(weights, _terms(_without_ending(word, ranking), languages), share / len(before))
    return Query(weights, frozenset(told), tuple(missing))


def is_follow_up(prompt: str, languages: Iterable[str]) -> bool:
    """Tell whether a prompt says so little by itself that the previous prompt's words count, too."""
    return _count(telling_words(prompt, languages)) in _EARLIER


def telling_words(prompt: str, languages: Iterable[str]) -> dict[str, None]:
    """Return the words that say something, in order. A prompt may be in another language than the files."""
    empty = function_words(words(prompt), _language(prompt, languages))
    return {word: None for word in words(prompt) if word.casefold() not in empty}


def _language(prompt: str, languages: Iterable[str]) -> str:
    return language_asked_in(words(prompt), (*sorted({*languages, "eng"}), *KNOWN_LANGUAGES))


def _count(told: Iterable[str]) -> int:
    return math.ceil(sum(1 / _PAIRS_OF_A_WORD if is_unspaced(word) else 1 for word in told))


def _without_ending(word: str, ranking: Ranking) -> str:
    """Return the name of a file as it is indexed, and any other word as it is."""
    stem, _, ending = word.rpartition(".")
    return stem if stem and ending.casefold() in ranking.endings else word


def _whole(word: str, ranking: Ranking, languages: Iterable[str]) -> Iterator[str]:
    """Yield the terms of a file's name with its ending, which tells it from others of the same name."""
    if _without_ending(word, ranking) != word:
        for language in languages:
            yield word_terms(word, language)[-1]


def _terms(word: str, languages: Iterable[str]) -> Iterator[str]:
    for language in languages:
        yield from word_terms(word, language)


def _parts(word: str, languages: Iterable[str], *, alone: bool = True) -> Iterator[str]:
    """Yield what a compound may have of a word: its stem in languages that write compounds as one word, or itself.

    Without `alone`, other languages have none.

    The stem of "elected" would be found in "electricity".
    """
    for language in languages:
        if language in _COMPOUNDING:
            yield from word_terms(word, language)
        elif alone:
            yield folded(word)


def _add(weights: dict[str, float], found: Sequence[str] | Iterator[str], weight: float) -> None:
    for term in found:
        weights[term] = max(weight, weights.get(term, 0.0))
