"""Which passages fit a query best: BM25 over what was read, in segments.

bm25s computes every score when it indexes, so one more passage would mean to index all of them again. So there are two
segments: a large one, which can be kept on disk, and a small one with what has changed since. How rare a term is counts
over both, so that a passage scores the same in either.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import bm25s  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from chat_sessions.server.documents.keeping import IndexStore
from chat_sessions.server.documents.reading.terms import terms

__all__ = ["LONG", "Found", "Ranked", "Ranking", "Segment", "rarity"]

# Any: bm25s has no type information.
_bm25s: Any = bm25s
# It logs what it does at DEBUG and adds a handler of its own.
logging.getLogger("bm25s").setLevel(logging.WARNING)

_FILES = "files.json"
# The small segment may have this many passages, or this share of those in the large one.
_SMALL, _SMALL_SHARE = 500, 0.2
_SHORTEST_PART = 4
_SHORTEST_END = 6
# "electr" is not a compound of "elect": the rest of a compound is a word, too.
_SHORTEST_REST = 3
LONG = 8
"""A word of this many letters is found in compounds even if it also occurs alone, and in forms one letter longer."""
_MOST_RELATED = 20
_MOST_LOOKED_AT = 1000
_MOST_KEPT = 1000
_RARE = 8
# How much memory a segment may use for arrays of its passages' scores, one for each frequent term.
_SPREAD_BYTES = 16 * 1024 * 1024
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Ranked:
    """A file in a ranking: its name, its document, and how many passages that has."""

    name: str
    document: int
    passages: int
    language: str


@dataclass(frozen=True, slots=True)
class Found:
    """A passage that fits: its file, its position in the document, and its score."""

    file: Ranked
    chunk: int
    score: float


class Segment:
    """Some files, with the score of each of their passages for each term."""

    def __init__(self, files: Sequence[Ranked], scores: Any, like: Segment | None = None) -> None:
        self.files = files
        self._scores = scores
        self._joined: str = like._joined if like else ""
        counts = np.array([file.passages for file in files], dtype=np.int64)
        self._starts = np.concatenate(([0], np.cumsum(counts)))
        self._alive: NDArray[np.float32] | None = None
        self._vocabulary: Mapping[str, int] = scores.vocab_dict
        # For each term, where those of its passages begin among `_having`, which have `_weights`. Views: a slice of a
        # file in memory costs more.
        self._bounds: NDArray[np.int64] = np.asarray(scores.scores["indptr"])
        self._having: NDArray[np.int64] = np.asarray(scores.scores["indices"])
        self._weights: NDArray[np.float32] = np.asarray(scores.scores["data"])
        self._places = {file: place for place, file in enumerate(files)}
        # Questions share their frequent words.
        spread = partial(_spread, self._bounds, self._having, self._weights, self.size)
        room = max(1, _SPREAD_BYTES // max(1, 4 * self.size))
        self._spread: Callable[[int], NDArray[np.float32]] = like._spread if like else lru_cache(room)(spread)

    @classmethod
    def made(cls, store: IndexStore, files: Sequence[Ranked]) -> Segment:
        """Index files that have passages."""
        found = store.terms([file.document for file in files])
        scores = _bm25s.BM25(method="lucene")
        scores.index([words for file in files for words in _words(file, found[file.document])], show_progress=False)
        return cls(files, scores)

    @classmethod
    def loaded(cls, folder: Path) -> Segment:
        """Load a segment that was saved. Raises `OSError` or `ValueError` if it cannot be."""
        files = [Ranked(*fields) for fields in json.loads((folder / _FILES).read_bytes())]
        return cls(files, _bm25s.BM25.load(str(folder), mmap=True, show_progress=False))

    def save(self, folder: Path) -> None:
        """Save it in a folder that is there."""
        self._scores.save(str(folder), show_progress=False)
        fields = [(file.name, file.document, file.passages, file.language) for file in self.files]
        (folder / _FILES).write_text(json.dumps(fields))

    def copy(self) -> Segment:
        """Return the same segment with all its files."""
        return Segment(self.files, self._scores, like=self)

    def __contains__(self, file: Ranked) -> bool:
        return file in self._places

    @property
    def size(self) -> int:
        """How many passages it has."""
        return int(self._starts[-1])

    def terms_with(self, part: str) -> Iterator[str]:
        """Yield terms that a string is part of, a thousand at most."""
        if not self._joined:
            # One search over all of them takes a fraction of what looking at each would.
            self._joined = "\n".join(["", *self._vocabulary, ""])
        at = 0
        for _ in range(_MOST_LOOKED_AT):
            at = self._joined.find(part, at)
            if at < 0:
                return
            start, end = self._joined.rfind("\n", 0, at) + 1, self._joined.find("\n", at)
            yield self._joined[start:end]
            at = end

    def without(self, gone: Iterable[Ranked]) -> None:
        """Leave out the passages of these files from now on."""
        self._alive = None
        for file in gone:
            if self._alive is None:
                self._alive = np.ones(self.size, dtype=np.float32)
            place = self._places[file]
            self._alive[self._starts[place] : self._starts[place + 1]] = 0.0

    def frequency(self, term: str) -> int:
        """Return how many passages have the term."""
        number = self._vocabulary.get(term)
        return 0 if number is None else int(self._bounds[number + 1] - self._bounds[number])

    def best(self, weights: Mapping[str, float], limit: int) -> Iterator[Found]:
        """Yield the passages with the highest scores, in no order."""
        blocks: NDArray[np.float32] = np.zeros((self.size // _BLOCK + 1, _BLOCK), dtype=np.float32)
        total = blocks.reshape(-1)[: self.size]
        for term, weight in weights.items():
            number = self._vocabulary.get(term)
            if number is None:
                continue
            having = slice(int(self._bounds[number]), int(self._bounds[number + 1]))
            count = having.stop - having.start
            share = weight / rarity(count, self.size)
            if count * _RARE < self.size:
                total[self._having[having]] += share * self._weights[having]
            else:
                total += share * self._spread(number)
        if self._alive is not None:
            total *= self._alive
        for place in _highest(blocks, limit):
            file = int(np.searchsorted(self._starts, place, side="right")) - 1
            yield Found(self.files[file], place - int(self._starts[file]), float(total[place]))


def _spread(
    bounds: NDArray[np.int64], having: NDArray[np.int64], weights: NDArray[np.float32], size: int, number: int
) -> NDArray[np.float32]:
    """Return the scores of all passages for a term."""
    scores: NDArray[np.float32] = np.zeros(size, dtype=np.float32)
    of_term = slice(int(bounds[number]), int(bounds[number + 1]))
    scores[having[of_term]] = weights[of_term]
    return scores


def _highest(blocks: NDArray[np.float32], limit: int) -> list[int]:
    """Return the positions of the highest scores above 0; among equal scores, the first.

    As many blocks as are asked for have a score that high, so nothing lower needs to be sorted.
    """
    tops = blocks.max(axis=1)
    least = np.partition(tops, -limit)[-limit] if limit < len(tops) else np.float32(0)
    total = blocks.reshape(-1)
    places = np.flatnonzero((total >= least) & (total > 0))
    order = np.argsort(-total[places], kind="stable")[:limit]
    found: list[int] = places[order].tolist()
    return found


class Ranking:
    """The passages of the files of one folder. It is replaced as a whole when files change."""

    def __init__(self, segments: Sequence[Segment], files: Sequence[Ranked]) -> None:
        self._segments = segments
        self._compounds: dict[str, list[str]] = {}
        self.files = files
        self._size = sum(file.passages for file in files)
        named = (file.name.rpartition(".") for file in files)
        self.endings = frozenset(ending.casefold() for stem, _, ending in named if stem)
        self.languages = frozenset(code for file in files for code in file.language.split("+")) or frozenset(("eng",))

    @classmethod
    def of(cls, store: IndexStore, root: str, files: Sequence[Ranked], before: Ranking | None) -> Ranking:
        """Rank files, with what is known of them: the ranking before, or the one that is kept."""
        base = before.base if before else _kept(store, root)
        wanted = dict.fromkeys(files)
        if base is not None:
            changed = [file for file in files if file not in base]
            gone = [file for file in base.files if file not in wanted]
            small = sum(file.passages for file in changed)
            if max(small, sum(file.passages for file in gone)) <= max(_SMALL, _SMALL_SHARE * base.size):
                base = base.copy()
                base.without(gone)
                return cls([base, *([Segment.made(store, changed)] if changed else [])], files)
        if not files:
            return cls([], files)
        base = Segment.made(store, files)
        store.keep_ranking(root, base.save)
        return cls([base], files)

    @property
    def base(self) -> Segment | None:
        """The large segment."""
        return self._segments[0] if self._segments else None

    @property
    def size(self) -> int:
        """How many passages there are."""
        return self._size

    def frequency(self, term: str) -> int:
        """Return how many passages have the term."""
        return sum(segment.frequency(term) for segment in self._segments)

    def related(self, word: str) -> list[str]:
        """Return the compounds that a term is part of, the shortest first, or else its own parts.

        A part is its beginning and at least half of it, or its end and at least a third: in a compound such as
        "Mitgliedsbeitrag", the end says what it is.
        """
        if len(word) < _SHORTEST_PART:
            return []
        found = set(self.compounds(word))
        if not found:
            begins = max(_SHORTEST_PART, math.ceil(len(word) / 2))
            ends = max(_SHORTEST_END, math.ceil(len(word) / 3))
            longest = len(word) - _SHORTEST_REST
            parts = {word[:at] for at in range(begins, longest + 1)} | {word[-at:] for at in range(ends, longest + 1)}
            found = {part for part in parts if self.frequency(part)}
        return sorted(found, key=lambda term: (len(term), term))[:_MOST_RELATED]

    def compounds(self, word: str) -> list[str]:
        """Return the compounds that a term is part of, the shortest first. A long term may only have an ending more."""
        found = self._compounds.get(word)
        if found is None:
            # A question is looked up more than once in its turn.
            if len(self._compounds) >= _MOST_KEPT:
                self._compounds.clear()
            rest = 1 if len(word) >= LONG else _SHORTEST_REST
            known = {term for segment in self._segments for term in segment.terms_with(word)}
            longer = (term for term in known if len(term) >= len(word) + rest)
            found = self._compounds[word] = sorted(longer, key=lambda term: (len(term), term))[:_MOST_RELATED]
        return found

    def best(self, weights: Mapping[str, float], limit: int) -> list[Found]:
        """Return the passages that fit best, the best first; of two that fit alike the one that comes first.

        `weights` is how much each term counts, with how rare it is.
        """
        found = [one for segment in self._segments for one in segment.best(weights, limit)]
        return sorted(found, key=lambda one: (-round(one.score, 4), one.file.name, one.chunk))[:limit]


def rarity(count: int, size: int) -> float:
    """Return BM25's inverse document frequency of a term that `count` of `size` passages have: how telling it is."""
    return math.log(1 + (size - count + 0.5) / (count + 0.5)) if count <= size else 0.1


def _words(file: Ranked, passages: Sequence[str]) -> Iterator[list[str]]:
    """Yield the terms of each passage, with those of the file's name: without its ending, and the whole of it."""
    whole = terms(file.name, file.language)[-1:] if "." in file.name else []
    named = [*terms(file.name.rpartition(".")[0] or file.name, file.language), *whole]
    for passage in passages:
        yield [*passage.split(" "), *named]


def _kept(store: IndexStore, root: str) -> Segment | None:
    folder = store.ranking(root)
    try:
        return Segment.loaded(folder) if folder else None
    except (OSError, ValueError, KeyError, TypeError):
        # Removed by another process, or half written: it is made again.
        return None
