"""A client used in several event loops leaves no connection open in any of them."""

from __future__ import annotations

import asyncio
import gc

from chat_sessions import AsyncLlamaCloudChat
from chat_sessions.http import loop_pools
from tests.llama_cloud.test_client import SUMMARY, answer
from tests.wire_server import WireServer


def made(wire: WireServer) -> AsyncLlamaCloudChat:
    wire.on("GET", "/summary", answer(200, SUMMARY))
    return AsyncLlamaCloudChat(api_key="k", base_url=wire.url)


def test_a_loop_that_ends_closes_its_connections(wire: WireServer) -> None:
    chat = made(wire)
    for _ in range(3):
        asyncio.run(chat.get_summary("ses-1"))
        assert loop_pools._open_pools == set()


async def test_a_client_that_is_dropped_has_its_connections_closed_by_its_loop(wire: WireServer) -> None:
    chat = made(wire)
    await chat.get_summary("ses-1")
    assert len(loop_pools._open_pools) == 1
    del chat
    gc.collect()
    while loop_pools._open_pools:  # noqa: ASYNC110 - the loop itself closes them, in a few steps
        await asyncio.sleep(0)


def test_a_client_that_is_dropped_after_its_loop_was_closed_is_forgotten(wire: WireServer) -> None:
    chat = made(wire)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(chat.get_summary("ses-1"))
    (pool,) = loop_pools._open_pools
    # A loop closed by hand, without shutting down its async generators, closes nothing by itself.
    loop.run_until_complete(pool.client.aclose())
    loop.close()
    asyncio.run(chat.get_summary("ses-1"))
    del chat
    gc.collect()
    loop_pools._open_pools.discard(pool)


def test_a_client_whose_loop_was_closed_by_hand_lets_go_of_it(wire: WireServer) -> None:
    chat = made(wire)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(chat.get_summary("ses-1"))
    (pool,) = loop_pools._open_pools
    loop.run_until_complete(pool.client.aclose())
    loop.close()
    del chat
    gc.collect()
    assert loop_pools._open_pools == set()
