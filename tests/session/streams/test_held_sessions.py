"""A session that is held: the indexes it asks, its creation, its turns, summary and title."""

from __future__ import annotations

import asyncio
import threading

import pytest

from chat_sessions import ConfigurationError, LlamaCloudChat, Text, UserInput
from tests.faces import AnyChat, AnySession, do
from tests.session.streams.service import HELLO, STOP, SUMMARY, both, history_of, service
from tests.wire_server import WireServer

__all__ = ["service"]


async def test_indexes_come_from_the_call_then_the_session_then_the_client(wire: WireServer) -> None:
    unbound = {**SUMMARY, "session_id": "ses-2", "index_ids": None}
    wire.on("GET", "/ses-2", lambda _, c: c.respond(200, {**unbound, "events": []}))
    wire.on("GET", "/ses-2/summary", lambda _, c: c.respond(200, unbound))
    with LlamaCloudChat(api_key="k", base_url=wire.url, index_ids=["idx-client"]) as made:
        for chat in both(made):
            await do(chat.session("ses-1", index_ids=["idx-held"]).ask("q", index_ids=["idx-call"]))
            await do(chat.session("ses-1", index_ids=["idx-held"]).ask("q"))
            await do(chat.stream("ses-1", "q").result())
            await do(chat.session("ses-2").ask("q"))
    sent = [request.json["index_ids"] for request in wire.posts()]
    assert sent == [["idx-call"], ["idx-held"], ["idx-own"], ["idx-client"]] * 2


async def test_a_turn_without_any_index_is_refused_before_it_is_sent(chat: AnyChat, wire: WireServer) -> None:
    unbound = {**SUMMARY, "index_ids": None}
    wire.on("GET", "/ses-1/summary", lambda _, c: c.respond(200, unbound))
    wire.on("GET", "/ses-1", lambda _, c: c.respond(200, {**unbound, "events": []}))
    for baseline in (False, True):
        with pytest.raises(ConfigurationError, match="no index to query"):
            await do(chat.stream("ses-1", "q", baseline=baseline).open())
    assert wire.posts() == []


async def test_a_first_turn_without_any_index_leaves_no_session_behind(chat: AnyChat, wire: WireServer) -> None:
    session: AnySession = chat.session()
    with pytest.raises(ConfigurationError, match="no index to query"):
        session.stream("q")
    assert (session.id, wire.requests) == (None, [])
    assert (await do(session.ask("q", index_ids=["idx-1"]))).is_complete


async def test_require_all_indexes_is_sent_when_it_is_asked_for(chat: AnyChat, wire: WireServer) -> None:
    await do(chat.stream("ses-1", "q", index_ids=["idx-1"], require_all_indexes=True).result())
    assert wire.posts()[0].json["require_all_indexes"] is True


async def test_a_session_is_created_at_its_first_send_and_once(chat: AnyChat, wire: WireServer) -> None:
    session: AnySession = chat.session(index_ids=["idx-1"])
    assert session.id is None
    assert await do(session.turns()) == []
    with pytest.raises(ConfigurationError, match="does not exist yet"):
        await do(session.summary())
    await do(session.ask("q"))
    await do(session.ask("q"))
    assert {session.id, await do(session.create())} == {"ses-1"}
    assert [request.json for request in wire.posts("/api/v1/chat")] == [{"index_ids": ["idx-1"]}]


async def test_two_first_sends_at_once_create_one_session(sync_chat: LlamaCloudChat, wire: WireServer) -> None:
    async_session = sync_chat.aio.session(index_ids=["idx-1"])
    await asyncio.gather(async_session.ask("q"), async_session.ask("q"))
    session = sync_chat.session(index_ids=["idx-1"])
    threads = [threading.Thread(target=session.ask, args=("q",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert len(wire.posts("/api/v1/chat")) == 2
    assert len(wire.posts()) == 4


async def test_a_held_session_gives_its_turns_summary_title_and_can_be_deleted(chat: AnyChat, wire: WireServer) -> None:
    wire.on("GET", "/ses-1", history_of(Text(content="lost prompt"), STOP, UserInput(content="q"), *HELLO))
    wire.on("POST", "/ses-1/title", lambda _, connection: connection.respond(200, SUMMARY))
    wire.on("DELETE", "/ses-1", lambda _, connection: connection.respond(204))
    session: AnySession = chat.session("ses-1")
    assert [turn.text for turn in await do(session.turns())] == ["lost prompt", "Hello"]
    assert len((await do(session.retrieve())).events) == 7
    assert session.index_ids == ("idx-own",)
    assert (await do(session.summary())).session_id == "ses-1"
    assert (await do(session.set_title())).title_origin == "requested"
    await do(session.set_title("another"))
    assert [request.json for request in wire.posts("/title")] == [{"first_message": "q"}, {"first_message": "another"}]
    await do(session.delete())
    assert repr(session).endswith("ChatSession(id='ses-1', index_ids=('idx-own',), service='llama_cloud')")


async def test_a_session_without_a_message_has_nothing_to_make_a_title_from(chat: AnyChat) -> None:
    with pytest.raises(ConfigurationError, match="no message yet"):
        await do(chat.session("ses-1").set_title())


def test_an_empty_session_id_is_refused(sync_chat: LlamaCloudChat) -> None:
    with pytest.raises(ConfigurationError, match="session_id is empty"):
        sync_chat.session("")


async def test_a_held_session_has_an_async_twin_that_is_the_same_session(sync_chat: LlamaCloudChat) -> None:
    session = sync_chat.session(index_ids=["idx-1"])
    assert (await session.aio.ask("q")).text == "Hello"
    assert session.id == session.aio.id == "ses-1"
