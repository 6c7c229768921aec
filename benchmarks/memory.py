"""How far the memory grows while a turn of 50,000 deltas is read; a fresh process for each surface."""

from __future__ import annotations

from benchmarks import langchain, llama_index, ours, peers, reader
from benchmarks.floors import T
from benchmarks.row import Row, at_most
from benchmarks.subject import Bench

__all__ = ["rows"]

_COUNT = 50_000
_LIMIT = 5.0
_SURFACES = (ours.CLIENT, langchain.CHAT_MODEL, langchain.CHAT_MODEL_EVENTS, llama_index.ENGINE)


def rows(bench: Bench, *, with_peers: bool) -> list[Row]:
    """A row for each surface; the floor and ChatOpenAI have no goal."""
    others = [T] if not with_peers or peers.missing(peers.CHAT_OPENAI) else [T, peers.CHAT_OPENAI]
    found: list[Row] = []
    for subject in (*_SURFACES, *others):
        for is_async in (False, True):
            # The others are here to compare with: one form of them will do.
            if (subject.aio if is_async else subject.sync) is None or (is_async and subject in others):
                continue
            growth = reader.growth(bench.url, subject, _COUNT, is_async=is_async)
            surface = f"{subject.title}, {'async' if is_async else 'sync'}: growth over {_COUNT:,} events"
            is_ours = subject in _SURFACES
            found.append(
                at_most("memory", surface, "≤ 5 MB" if is_ours else "", growth, _LIMIT if is_ours else None, "MB")
            )
    return found
