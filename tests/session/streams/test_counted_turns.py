"""The turns of a session are counted, so that a new answer is told from an old one to the same words."""

from __future__ import annotations

import asyncio
import pickle
import threading

import pytest

from chat_sessions import ConflictError, Event, Text, Thinking, ToolResult, TurnOutcomeUnknown, UnknownEvent, UserInput
from tests.faces import AnyChat, AnySession, do, entered
from tests.session.streams.service import HELLO, STOP, both, break_off, client, history_of, refuse, service, stream_of
from tests.wire_server import Connection, Request, WireServer

__all__ = ["service"]


async def test_the_same_words_answered_earlier_are_not_given_for_this_turns_answer(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", break_off)
    wire.on("GET", "/ses-1", history_of(UserInput(content="q"), Text(content="old"), STOP))
    with client(wire, recovery=0.6) as made:
        for chat in both(made):
            with pytest.raises(TurnOutcomeUnknown, match="may or may not be this one") as caught:
                await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).open())
            assert caught.value.turn.text == ""


async def test_a_session_that_counts_its_turns_knows_the_new_answer_from_the_old(
    chat: AnyChat, wire: WireServer
) -> None:
    session: AnySession = chat.session(index_ids=["idx-1"])
    assert (await do(session.ask("q"))).text == "Hello"
    wire.on("POST", "/messages/stream", break_off)
    old = (UserInput(content="q"), *HELLO[2:])
    wire.on("GET", "/ses-1", history_of(*old), history_of(*old, UserInput(content="q"), Text(content="new"), STOP))
    assert (await do(session.ask("q"))).text == "new"


# What a service may show beside the turns, around that of a first question, "one".
ODD_HISTORIES: dict[str, tuple[Event, ...]] = {
    "an unknown event first": (UnknownEvent(raw={"type": "created"}), UserInput(content="one"), *HELLO[2:]),
    "a greeting": (Text(content="Hi, I am here."), UserInput(content="one"), *HELLO[2:]),
    "a greeting and its end": (Text(content="Hi, I am here."), STOP, UserInput(content="one"), *HELLO[2:]),
    "a late result": (
        UserInput(content="one"),
        *HELLO[2:],
        ToolResult(call_id="c", name="log", result={}),
    ),
    "a late thought": (UserInput(content="one"), *HELLO[2:], Thinking(content="That went well.")),
    "a question that the service has rewritten": (
        UserInput(content="what is one?"),
        UserInput(content="one"),
        *HELLO[2:],
    ),
    "a turn of somebody else": (UserInput(content="one"), *HELLO[2:], UserInput(content="other"), *HELLO[2:]),
}


@pytest.mark.parametrize("odd", ODD_HISTORIES.values(), ids=ODD_HISTORIES)
async def test_what_a_history_has_beside_our_turns_does_not_make_an_older_answer_new(
    chat: AnyChat, wire: WireServer, odd: tuple[Event, ...]
) -> None:
    session: AnySession = chat.session(index_ids=["idx-own"])
    for question in ("one", "go on"):
        await do(session.ask(question))
    two = (*odd, UserInput(content="go on"), *HELLO[2:])
    wire.on("POST", "/messages/stream", break_off)
    wire.on("GET", "/ses-1", history_of(*two), history_of(*two, UserInput(content="go on"), Text(content="new"), STOP))
    assert (await do(session.ask("go on"))).text == "new"


@pytest.mark.parametrize("odd", ODD_HISTORIES.values(), ids=ODD_HISTORIES)
async def test_beside_what_a_history_has_besides_a_lost_prompt_is_not_answered_by_an_older_turn(
    wire: WireServer, odd: tuple[Event, ...]
) -> None:
    with client(wire, recovery=0.6) as made:
        for chat in both(made):
            wire.on("POST", "/messages/stream", stream_of(*HELLO))
            session = chat.session(index_ids=["idx-own"])
            for question in ("one", "go on"):
                await do(session.ask(question))
            wire.on("POST", "/messages/stream", break_off)
            wire.on("GET", "/ses-1", history_of(*odd, UserInput(content="go on"), *HELLO[2:]))
            with pytest.raises(TurnOutcomeUnknown):
                await do(session.ask("go on"))


async def test_all_holders_of_a_session_count_its_turns_together(chat: AnyChat, wire: WireServer) -> None:
    session: AnySession = chat.session(index_ids=["idx-1"])
    await do(session.ask("go on"))
    await do(chat.stream("ses-1", "go on", index_ids=["idx-1"]).result())
    wire.on("POST", "/messages/stream", break_off)
    two = (UserInput(content="go on"), *HELLO[2:]) * 2
    three = (*two, UserInput(content="go on"), Text(content="third"), STOP)
    wire.on("GET", "/ses-1", history_of(*two), history_of(*three))
    assert (await do(session.ask("go on"))).text == "third"


async def test_reading_a_session_while_its_turn_runs_does_not_miscount(chat: AnyChat, wire: WireServer) -> None:
    session: AnySession = chat.session(index_ids=["idx-own"])
    one = (UserInput(content="q"), *HELLO[2:])
    wire.on("GET", "/ses-1", history_of(UserInput(content="q")))
    async with entered(session.stream("q")) as stream:
        assert len(await do(session.turns())) == 1
        await do(stream.result())
    wire.on("POST", "/messages/stream", break_off)
    wire.on("GET", "/ses-1", history_of(*one, UserInput(content="q"), Text(content="second"), STOP))
    assert (await do(session.ask("q"))).text == "second"


async def test_a_session_that_was_pickled_does_not_take_its_count_along(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", "k")
    with client(wire, recovery=0.6) as made:
        session = made.session(index_ids=["idx-own"])
        session.ask("q")
        copy = pickle.loads(pickle.dumps(session))
        wire.on("POST", "/messages/stream", break_off)
        wire.on("GET", "/ses-1", history_of(UserInput(content="q"), *HELLO[2:]))
        assert (copy.id, copy.index_ids) == ("ses-1", ("idx-own",))
        with pytest.raises(TurnOutcomeUnknown):
            copy.ask("q")


async def test_a_turn_that_was_refused_is_not_counted(chat: AnyChat, wire: WireServer) -> None:
    session: AnySession = chat.session(index_ids=["idx-own"])
    wire.on("POST", "/messages/stream", refuse(409))
    with pytest.raises(ConflictError):
        await do(session.ask("q"))
    wire.on("POST", "/messages/stream", break_off)
    wire.on("GET", "/ses-1", history_of(UserInput(content="q"), Text(content="first"), STOP))
    assert (await do(session.ask("q"))).text == "first"


async def test_a_turn_that_is_cancelled_before_its_answer_begins_may_have_landed(wire: WireServer) -> None:
    posted = threading.Event()

    def say_nothing(_: Request, connection: Connection) -> None:
        posted.set()
        connection.wait_until_closed()

    with client(wire, recovery=0.6) as made:
        session = made.aio.session(index_ids=["idx-1"])
        await session.create()
        wire.on("POST", "/messages/stream", say_nothing)
        task = asyncio.create_task(session.ask("q"))
        assert await asyncio.to_thread(posted.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        wire.on("POST", "/messages/stream", break_off)
        wire.on("GET", "/ses-1", history_of(UserInput(content="q"), Text(content="of the first"), STOP))
        with pytest.raises(TurnOutcomeUnknown):
            await session.ask("q")


async def test_after_a_turn_that_nobody_knows_of_the_count_is_read_again_not_guessed(wire: WireServer) -> None:
    with client(wire, recovery=0.6) as made:
        for chat in both(made):
            wire.on("POST", "/messages/stream", break_off)
            wire.on("GET", "/ses-1", history_of())
            session = chat.session(index_ids=["idx-1"])
            for _ in range(2):
                with pytest.raises(TurnOutcomeUnknown):
                    await do(session.ask("q"))
            old = (UserInput(content="q"), *HELLO[2:])
            wire.on("GET", "/ses-1", history_of(*old))
            with pytest.raises(TurnOutcomeUnknown):
                await do(session.ask("q"))
            await do(session.turns())
            wire.on("GET", "/ses-1", history_of(*old, UserInput(content="q"), Text(content="new"), STOP))
            assert (await do(session.ask("q"))).text == "new"
