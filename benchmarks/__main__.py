"""Measures microseconds of CPU per event: our client beside httpx with httpx-sse and pydantic (the floor).

All subjects run in one process, in turn, several times over; medians are shown, and the ratio to the floor of the
same framing and mode. The text of each run is compared, so that nobody is fast by leaving things out.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable

import httpx
from httpx_sse import EventSource

from benchmarks.replay import serve
from chat_sessions import LlamaCloudChat
from chat_sessions.core.events import Stop, TextDelta, parse_event_json

PATH = "/api/v1/chat/{}/messages/stream"


def floor(url: str, client: httpx.Client, framing: str) -> str:
    text: list[str] = []
    with client.stream("POST", url + PATH.format(framing), json={"prompt": "q"}) as response:
        for sse in EventSource(response).iter_sse():
            event = parse_event_json(sse.data)
            if isinstance(event, TextDelta):
                text.append(event.content)
            elif isinstance(event, Stop):
                break
    return "".join(text)


async def async_floor(url: str, client: httpx.AsyncClient, framing: str) -> str:
    text: list[str] = []
    async with client.stream("POST", url + PATH.format(framing), json={"prompt": "q"}) as response:
        async for sse in EventSource(response).aiter_sse():
            event = parse_event_json(sse.data)
            if isinstance(event, TextDelta):
                text.append(event.content)
            elif isinstance(event, Stop):
                break
    return "".join(text)


def ours(chat: LlamaCloudChat, framing: str) -> str:
    with chat.stream(framing, "q", index_ids=["i"]) as stream:
        return "".join(event.content for event in stream if isinstance(event, TextDelta))


async def async_ours(chat: LlamaCloudChat, framing: str) -> str:
    async with chat.aio.stream(framing, "q", index_ids=["i"]) as stream:
        return "".join([event.content async for event in stream if isinstance(event, TextDelta)])


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    ours_end, server_end = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=serve, args=(server_end, arguments.events), daemon=True
    )
    server.start()
    url = f"http://127.0.0.1:{ours_end.recv()}"
    expected = len("".join(f"tok{n % 10} " for n in range(arguments.events)))
    figures: dict[tuple[str, str, str], list[float]] = {}

    def note(key: tuple[str, str, str], began: float, text: str) -> None:
        if len(text) != expected:
            raise SystemExit(f"{key} gave {len(text)} characters instead of {expected}")
        figures.setdefault(key, []).append((time.process_time() - began) / arguments.events * 1e6)

    async def run_async(key: tuple[str, str, str], work: Callable[[], Awaitable[str]]) -> None:
        began = time.process_time()
        note(key, began, await work())

    async def run() -> None:
        chat = LlamaCloudChat(api_key="k", base_url=url)
        async with httpx.AsyncClient() as async_client, chat.aio:
            with httpx.Client() as client, chat:
                for _ in range(arguments.repeats):
                    for framing in ("co16", "chunk"):
                        began = time.process_time()
                        note((framing, "sync", "floor"), began, floor(url, client, framing))
                        began = time.process_time()
                        note((framing, "sync", "client"), began, ours(chat, framing))
                        await run_async(
                            (framing, "async", "floor"), lambda f=framing: async_floor(url, async_client, f)
                        )
                        await run_async((framing, "async", "client"), lambda f=framing: async_ours(chat, f))

    asyncio.run(run())
    server.terminate()
    print(f"{arguments.events:,} events, {arguments.repeats} repeats, us of CPU per event (medians)\n")
    print(f"{'framing':8}{'mode':8}{'floor':>8}{'client':>8}{'ratio':>8}")
    for framing in ("co16", "chunk"):
        for mode in ("sync", "async"):
            low, high = (statistics.median(figures[framing, mode, who]) for who in ("floor", "client"))
            print(f"{framing:8}{mode:8}{low:8.2f}{high:8.2f}{high / low:8.2f}")


if __name__ == "__main__":
    main()
