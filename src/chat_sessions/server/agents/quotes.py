"""Quotes of a passage: the whole sentences or table rows that fit a query best, with "…" where some are left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from chat_sessions.server.documents.reading.blocks import Block, blocks_of, sentences
from chat_sessions.server.documents.reading.tables import CUT, gap, is_gap
from chat_sessions.server.documents.reading.terms import terms

__all__ = ["quote"]

_LONGEST = 500
_LONGEST_CAPTION = 250
# With less than this, the blocks around it are shown, too.
_ENOUGH = 200
_MOST_ROWS = 12
# A table with so few rows is shown whole, if it has no more characters than this.
_FEW_ROWS = 4
_MOST_OF_FEW = 1000
# Of one passage, two blocks are shown if the second fits nearly as well, or adds this share with words of its own.
_NEARLY = 0.75
_ADDS = 0.3
_ALMOST = 0.6


def quote(text: str, weights: Mapping[str, float], languages: Sequence[str]) -> str:
    """Return what fits best of a passage, in its own words and order. `weights` is how much each term counts."""

    def known(part: str) -> frozenset[str]:
        return frozenset(term for language in languages for term in terms(part, language) if term in weights)

    def worth(found: frozenset[str]) -> float:
        return sum(weights[term] for term in found)

    def fit(part: str) -> float:
        return worth(known(part))

    blocks = [block for block in blocks_of(text) if not block.level]
    if not blocks:
        return text
    found = [
        [known(f"{block.head}\n{row}") for row in block.rows or ("",)] if block.is_table else [known(block.text)]
        for block in blocks
    ]
    fits = [max(map(worth, each)) for each in found]
    first, *others = sorted(range(len(blocks)), key=lambda at: (-fits[at], at))
    shown_by_first = max(found[first], key=worth)
    added = {at: max(worth(each - shown_by_first) for each in found[at]) for at in others}
    most = max(others, key=lambda at: (added[at], fits[at], -at), default=first)
    adds = most != first and added[most] >= _ADDS * fits[first] > 0
    chosen = [first, *([most] if adds else [at for at in others[:1] if fits[at] >= _NEARLY * fits[first]])]
    # What is right above a table says what it is about, and is not shown without it.
    captions = [
        at - 1
        for at, block in enumerate(blocks)
        if at and block.is_table and not blocks[at - 1].is_table and len(blocks[at - 1].text) <= _LONGEST_CAPTION
    ]
    chosen += [at for at in captions if at + 1 in chosen] + [at + 1 for at in captions if at in chosen]
    chosen = _with_context(blocks, set(chosen))
    shown = [_rows(blocks[at], fit) if blocks[at].is_table else _sentences(blocks[at].text, fit) for at in chosen]
    return "\n\n".join(_with_gaps(shown, chosen, len(blocks), CUT))


def _with_context(blocks: Sequence[Block], chosen: set[int]) -> list[int]:
    """Return the blocks to show: with few words chosen, what follows or comes before belongs to them."""
    size = sum(len(blocks[at]) for at in chosen)
    # A table says enough by itself.
    while size < _ENOUGH and not any(blocks[at].is_table for at in chosen):
        around = [at for at in (max(chosen) + 1, min(chosen) - 1) if 0 <= at < len(blocks) and at not in chosen]
        fitting = [at for at in around if not blocks[at].is_table and size + len(blocks[at]) <= _LONGEST]
        if not fitting:
            break
        chosen.add(fitting[0])
        size += len(blocks[fitting[0]])
    return sorted(chosen)


def _rows(block: Block, fit: Callable[[str], float]) -> str:
    """Return the header and the rows that fit best: all of them where none stands out."""
    rows = [at for at, row in enumerate(block.rows) if not is_gap(row)]
    fits = {at: fit(block.rows[at]) for at in rows}
    top = max(fits.values(), default=0.0)
    are_few = len(rows) <= _FEW_ROWS and sum(len(block.rows[at]) for at in rows) <= _MOST_OF_FEW
    chosen = [at for at in rows if fits[at] >= _ALMOST * top or are_few]
    if top and len(chosen) > _MOST_ROWS:
        chosen = sorted(sorted(chosen, key=lambda at: -fits[at])[:_MOST_ROWS])
    chosen = chosen[:_MOST_ROWS] if len(chosen) > 2 * _MOST_ROWS else chosen
    lines = _with_gaps([block.rows[at] for at in chosen], chosen, len(block.rows), gap(block))
    return "\n".join([block.head, *lines])


def _sentences(text: str, fit: Callable[[str], float]) -> str:
    """Return the sentence that fits best, with as many of those around it as there is room for."""
    if len(text) <= _LONGEST:
        return text
    parts = list(sentences(text))
    fits = [fit(part) for part in parts]
    first = last = max(range(len(parts)), key=lambda at: (fits[at], -at))
    size = len(parts[first])
    while True:
        around = [at for at in (last + 1, first - 1) if 0 <= at < len(parts) and size + len(parts[at]) <= _LONGEST]
        if not around:
            break
        more = max(around, key=lambda at: (fits[at], at))
        first, last, size = min(first, more), max(last, more), size + len(parts[more])
    cut_before, cut_after = first > 0, last + 1 < len(parts)
    return " ".join([*([CUT] if cut_before else []), *parts[first : last + 1], *([CUT] if cut_after else [])])


def _with_gaps(shown: Sequence[str], places: Sequence[int], count: int, gap: str) -> Iterator[str]:
    """Yield what is shown of `count` parts, with a sign wherever some are left out."""
    before = -1
    for text, at in zip(shown, places, strict=True):
        if at > before + 1:
            yield gap
        yield text
        before = at
    if before + 1 < count:
        yield gap
