"""A session that was resumed by id is counted before its first turn, so that an older answer is not taken for a new."""

from __future__ import annotations

import pytest

from chat_sessions import (
    APIConnectionError,
    APIError,
    Event,
    LlamaCloudChat,
    NotFoundError,
    OpenHandsChat,
    Text,
    Timeouts,
    TurnOutcomeUnknown,
    UserInput,
)
from chat_sessions.session.backend import AnotherSession
from chat_sessions.session.stored import turn_count
from chat_sessions.session.stored.turn_count import TurnCount
from tests.faces import AnyChat, do, every
from tests.session.streams.service import (
    HELLO,
    STOP,
    SUMMARY,
    both,
    break_off,
    client,
    history_of,
    refuse,
    service,
    stream_of,
)
from tests.wire_server import Handler, WireServer

__all__ = ["service"]

OLD: tuple[Event, ...] = (UserInput(content="q"), Text(content="old"), STOP)
NEW: tuple[Event, ...] = (UserInput(content="q"), Text(content="new"), STOP)


def gets(wire: WireServer) -> list[str]:
    return [request.target for request in wire.requests if request.method == "GET"]


async def test_an_answer_that_never_came_is_told_from_an_older_one_in_a_session_nobody_counted(
    chat: AnyChat, wire: WireServer
) -> None:
    wire.on("POST", "/messages/stream", break_off)
    wire.on("GET", "/ses-1", history_of(*OLD), history_of(*OLD), history_of(*OLD, *NEW))
    assert (await do(chat.session("ses-1", index_ids=["idx-1"]).ask("q"))).text == "new"
    assert len(wire.posts()) == 1


async def test_the_older_answer_is_never_given_though_the_prompt_did_not_land(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", break_off)
    wire.on("GET", "/ses-1", history_of(*OLD))
    with client(wire, recovery=0.6) as made:
        for chat in both(made):
            with pytest.raises(TurnOutcomeUnknown, match="has not shown the prompt"):
                await do(chat.session("ses-1", index_ids=["idx-1"]).ask("q"))


async def test_the_history_is_read_once_and_brings_the_indexes_so_nothing_else_goes_before_a_post(
    chat: AnyChat, wire: WireServer
) -> None:
    wire.on("GET", "/ses-1", history_of(*OLD))
    for _ in range(2):
        # As a web application does: a session object for each request.
        session = chat.session("ses-1")
        await do(session.ask("q"))
        await do(session.ask("q"))
    await do(chat.stream("ses-1", "q").result())
    assert gets(wire) == ["/api/v1/chat/ses-1"]
    assert {tuple(request.json["index_ids"]) for request in wire.posts()} == {("idx-own",)}


async def test_a_session_without_indexes_of_its_own_is_asked_for_them_until_it_has_turns(
    chat: AnyChat, wire: WireServer
) -> None:
    unbound = {**SUMMARY, "index_ids": None}
    wire.on("GET", "/ses-1", lambda _, c: c.respond(200, {**unbound, "events": []}))
    wire.on("GET", "/ses-1/summary", lambda _, c: c.respond(200, SUMMARY))
    await do(chat.session("ses-1").ask("q", index_ids=["idx-1"]))
    for _ in range(2):
        await do(chat.session("ses-1").ask("q"))
    assert gets(wire) == ["/api/v1/chat/ses-1", "/api/v1/chat/ses-1/summary"]
    assert [request.json["index_ids"] for request in wire.posts()] == [["idx-1"], ["idx-own"], ["idx-own"]]


async def test_a_session_that_is_created_here_is_not_read_before_its_first_turn(
    chat: AnyChat, wire: WireServer
) -> None:
    await do(chat.session(index_ids=["idx-1"]).ask("q"))
    assert gets(wire) == []


@pytest.mark.parametrize("face", [0, 1], ids=["sync", "async"])
async def test_without_a_baseline_nothing_is_read_and_the_outcome_of_a_lost_answer_is_unknown(
    wire: WireServer, face: int
) -> None:
    wire.on("POST", "/messages/stream", stream_of(*HELLO), break_off)
    wire.on("GET", "/ses-1", history_of(*OLD, *NEW))
    with client(wire, recovery=0.6) as made:
        chat = both(made)[face]
        await do(chat.session("ses-1", index_ids=["idx-1"], baseline=False).ask("q"))
        assert gets(wire) == []
        with pytest.raises(TurnOutcomeUnknown, match="may or may not be this one"):
            await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).result())


async def test_a_client_that_looks_nothing_up_counts_nothing(wire: WireServer) -> None:
    with client(wire, recovery=0) as made:
        for chat in both(made):
            await do(chat.session("ses-1", index_ids=["idx-1"]).ask("q"))
    assert gets(wire) == []


async def test_a_history_that_was_late_does_not_make_an_older_answer_count_as_new(wire: WireServer) -> None:
    with client(wire, recovery=0.6) as made:
        for chat in both(made):
            session = chat.session("ses-1", index_ids=["idx-1"])
            wire.on("GET", "/ses-1", history_of(*OLD))
            assert len(await do(session.turns())) == 1
            # A replica that was one turn behind has caught up. The prompt never lands.
            wire.on("GET", "/ses-1", history_of(*OLD, *OLD))
            wire.on("POST", "/messages/stream", break_off)
            with pytest.raises(TurnOutcomeUnknown):
                await do(session.ask("q"))


def test_a_baseline_with_fewer_turns_than_landed_is_late_and_not_believed() -> None:
    count = TurnCount()
    count.read(count.reading(), 3)
    assert count.baseline(2) == 3
    assert count.has_baseline


def test_a_client_keeps_the_counts_of_its_last_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    class Keeper:
        pass

    monkeypatch.setattr(turn_count, "_MOST_KEPT", 2)
    keeper = Keeper()
    for name in ("a", "b", "a", "c"):
        TurnCount.of(("kept", name), keeper).created()
    assert [TurnCount.of(("kept", name)).has_baseline for name in ("a", "b", "c")] == [True, False, True]
    del keeper
    assert not TurnCount.of(("kept", "a")).has_baseline


async def test_a_session_that_does_not_exist_is_refused_by_the_turn_itself(chat: AnyChat, wire: WireServer) -> None:
    wire.on("GET", "/ses-1", refuse(404))
    wire.on("POST", "/messages/stream", refuse(404))
    with pytest.raises(NotFoundError):
        await do(chat.session("ses-1", index_ids=["idx-1"]).ask("q"))
    assert len(wire.posts()) == 1


@pytest.mark.usefixtures("no_waiting")
async def test_a_service_that_is_out_of_reach_when_the_turns_are_counted_is_sent_nothing(
    chat: AnyChat, wire: WireServer
) -> None:
    wire.on("GET", "/ses-1", break_off)
    with pytest.raises(APIConnectionError):
        await do(chat.session("ses-1", index_ids=["idx-1"]).ask("q"))
    assert wire.posts() == []


UNREADABLE: tuple[Handler, ...] = (refuse(403), refuse(404), refuse(501), lambda _, c: c.respond(200, {"events": 1}))


@pytest.mark.parametrize("unreadable", UNREADABLE, ids=["forbidden", "not found", "no such method", "no session"])
async def test_a_history_that_cannot_be_read_is_asked_for_once_and_its_session_can_be_asked(
    chat: AnyChat, wire: WireServer, unreadable: Handler
) -> None:
    wire.on("GET", "/ses-1", unreadable)
    session = chat.session("ses-1", index_ids=["idx-1"])
    assert (await do(session.ask("q"))).text == "Hello"
    asked = gets(wire)
    assert (await do(session.ask("q"))).text == "Hello"
    assert gets(wire) == asked


async def test_a_history_that_does_not_come_in_time_does_not_keep_its_session_from_being_asked(
    wire: WireServer,
) -> None:
    wire.on("GET", "/ses-1", lambda _, c: c.wait_until_closed())
    timeouts = Timeouts(first_event=1)
    with LlamaCloudChat(api_key="k", base_url=wire.url, timeouts=timeouts, max_retries=0) as made:
        for chat in both(made):
            assert (await do(chat.session("ses-1", index_ids=["idx-1"]).ask("q"))).text == "Hello"


async def test_an_answer_of_another_session_is_an_error_and_never_taken_over(chat: AnyChat, wire: WireServer) -> None:
    other = {**SUMMARY, "session_id": "ses-B"}
    wire.on("GET", "/ses-1", lambda _, c: c.respond(200, {**other, "events": []}))
    wire.on("GET", "/ses-1/summary", lambda _, c: c.respond(200, other))
    wire.on("POST", "/ses-1/title", lambda _, c: c.respond(200, other))
    session = chat.session("ses-1", index_ids=["idx-1"])
    asked = (
        lambda: session.turns(),
        lambda: session.summary(),
        lambda: session.set_title("words"),
        lambda: session.ask("q"),
        lambda: chat.retrieve("ses-1"),
        lambda: chat.get_summary("ses-1"),
    )
    for ask in asked:
        with pytest.raises(AnotherSession, match="asked for session ses-1, but the answer belongs to session 'ses-B'"):
            await do(ask())
    assert session.id == "ses-1"
    assert wire.posts() == []


async def test_another_sessions_history_is_not_delivered_for_a_turn_that_broke(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", break_off)
    other = {**SUMMARY, "session_id": "ses-B", "events": [event.model_dump() for event in NEW]}
    wire.on("GET", "/ses-1", history_of(), lambda _, c: c.respond(200, other))
    with client(wire, recovery=0.6) as made, pytest.raises(TurnOutcomeUnknown, match="could not be read"):
        made.stream("ses-1", "q", index_ids=["idx-1"]).result()


@pytest.mark.parametrize("baseline", [True, False])
@pytest.mark.parametrize("is_async", [True, False])
async def test_a_conversation_of_an_agent_server_is_counted_too(
    wire: WireServer, baseline: bool, is_async: bool
) -> None:
    name = "0b5fcd3e-6f0b-4a9e-9d2c-0d5b1c4f7a10"
    info = {"id": name, "updated_at": "2026-04-22T12:34:41Z", "execution_status": "finished"}
    wire.on("GET", "/events/search", lambda _, c: c.respond(200, {"items": [], "next_page_id": None}))
    wire.on("GET", f"/conversations/{name}", lambda _, c: c.respond(200, info))
    with OpenHandsChat(base_url=wire.url, max_retries=0) as made:
        chat = made.aio if is_async else made
        # It has no websocket, so no message is sent.
        with pytest.raises(APIError):
            await every(chat.session(name, baseline=baseline).stream("q"))
    assert any("/events/search" in target for target in gets(wire)) is baseline
