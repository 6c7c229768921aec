"""The surfaces of this package, with all that they do by default."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from benchmarks.subject import Bench, Subject
from chat_sessions import TextDelta

__all__ = ["CLIENT"]


def _stream(bench: Bench, plan: str) -> Iterator[str]:
    with bench.chat.stream(plan, "q", index_ids=["idx"]) as stream:
        for event in stream:
            if isinstance(event, TextDelta):
                yield event.content


async def _astream(bench: Bench, plan: str) -> AsyncIterator[str]:
    async with bench.chat.aio.stream(plan, "q", index_ids=["idx"]) as stream:
        async for event in stream:
            if isinstance(event, TextDelta):
                yield event.content


CLIENT = Subject("client", __name__, _stream, _astream, title="client stream()")
