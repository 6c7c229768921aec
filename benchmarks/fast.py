"""The client over aiohttp's parser, which is written in C: httpx with the transport of httpx-aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib import import_module
from importlib.util import find_spec

import httpx

from benchmarks.floors import T
from benchmarks.measure import Job, measure
from benchmarks.row import Row, at_most
from benchmarks.subject import Bench, Subject
from chat_sessions import AsyncLlamaCloudChat, TextDelta

__all__ = ["FAST_CLIENT", "rows"]

_COUNT = 10_000


def rows(bench: Bench, runner: asyncio.Runner, *, repeats: int = 5) -> list[Row]:
    """Whether it is worth it: a row for each framing."""
    if find_spec("httpx_aiohttp") is None:
        return [at_most("fast", FAST_CLIENT.title, "≤ 0.5 T", None, None, "µs", "httpx-aiohttp is not installed")]
    jobs = [Job(subject, True, framing, _COUNT) for subject in (T, FAST_CLIENT) for framing in ("chunk", "co16")]
    costs = measure(bench, runner, dict.fromkeys(jobs, repeats))
    found: list[Row] = []
    for framing, said in (("chunk", "one chunk per event"), ("co16", "16 KiB chunks")):
        floor, figure = (costs.of(subject, framing, _COUNT, is_async=True) for subject in (T, FAST_CLIENT))
        limit = 0.5 * floor if framing == "chunk" and floor is not None else None
        goal = "≤ 0.5 T" if limit is not None else ""
        found.append(at_most("fast", f"{FAST_CLIENT.title}, async, {said}", goal, figure, limit, "µs"))
    return found


def _client(bench: Bench) -> AsyncLlamaCloudChat:
    def make_http() -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=None)
        return httpx.AsyncClient(transport=import_module("httpx_aiohttp").AiohttpTransport(limits=limits))

    def make() -> AsyncLlamaCloudChat:
        http_client = bench.once("aiohttp", make_http)
        return AsyncLlamaCloudChat(api_key="benchmark", base_url=bench.url, http_client=http_client)

    return bench.once("fast", make)


async def _astream(bench: Bench, plan: str) -> AsyncIterator[str]:
    async with _client(bench).stream(plan, "q", index_ids=["idx"]) as stream:
        async for event in stream:
            if isinstance(event, TextDelta):
                yield event.content


FAST_CLIENT = Subject("fast client", __name__, None, _astream, "client stream() over aiohttp's parser")
