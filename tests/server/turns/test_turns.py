from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from chat_sessions.core.events import (
    Event,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    UnknownEvent,
    parse_event_json,
)
from chat_sessions.core.turn import replay
from chat_sessions.server.agents.local_agent import LocalAgent
from chat_sessions.server.documents.library import Library
from chat_sessions.server.store.records import SourcesLocked, UnknownSession
from chat_sessions.server.store.store import Store
from chat_sessions.server.turns import turns as turns_module
from chat_sessions.server.turns.agent import Agent, AgentTurn
from chat_sessions.server.turns.behaviour import Behaviour
from chat_sessions.server.turns.running import RunningTurn
from chat_sessions.server.turns.turns import SessionBusy, ShuttingDown, Turns
from tests.server.scripted import ANSWER, IDS, Gate, PaperIndex, ScriptedAgent, Step, live


async def here() -> bool:
    return False


async def gone() -> bool:
    return True


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(f"sqlite:///{tmp_path}/chat.db")
    yield store
    await store.close()


def turns_of(store: Store, agent: Agent | None = None, **behaviour: object) -> Turns:
    library = Library({"idx-docs": PaperIndex()})
    return Turns(store, library, agent or ScriptedAgent(*ANSWER), Behaviour(**behaviour))  # type: ignore[arg-type]


async def started(turns: Turns, session_id: str, prompt: str = "How many?") -> RunningTurn:
    turn = await turns.start(session_id, prompt, index_ids=IDS, require_all_indexes=False, is_gone=here)
    assert turn is not None
    return turn


async def shown(turn: RunningTurn) -> list[Event]:
    return [parse_event_json(event.body) async for event in live(turn)]


async def new_session(store: Store) -> str:
    return (await store.create_session(index_ids=None, shared_access=None)).session_id


async def test_words_whose_final_comes_late_are_streamed_and_stored_once(store: Store) -> None:
    call = ToolCall(call_id="c", name="retrieve", arguments={})
    agent = ScriptedAgent(
        ThinkingDelta(content="hm"),
        TextDelta(content="Let me look.\n"),
        call,
        Text(content="Let me look."),
        TextDelta(content="Fi"),
        Thinking(content="hm"),
        TextDelta(content="ve."),
        Text(content="Five."),
    )
    turns = turns_of(store, agent)
    session_id = await new_session(store)
    streamed = await shown(await started(turns, session_id))
    kept = [parse_event_json(event.body) for event in await store.events(session_id)]
    assert kept[1:] == streamed
    for deltas in (True, False):
        kinds = (TextDelta, ThinkingDelta) if deltas else (Text, Thinking)
        (turn,) = replay(event for event in kept if not isinstance(event, kinds))
        assert (turn.text, turn.thinking) == ("Let me look.\nFive.", "hm")
    await turns.close()


async def test_turns_are_answered_while_a_new_file_is_still_being_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "_CHECK_SECONDS", 0.01)
    read = threading.Event()
    index = PaperIndex()
    monkeypatch.setattr(index, "refresh", lambda *_: read.wait(60))

    class Waiting:
        async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
            await turn.refresh()
            yield TextDelta(content="Answered.")

    library = Library({"idx-docs": index})
    turns = Turns(store, library, Waiting(), Behaviour())
    for _ in range(2):
        events = await shown(await started(turns, await new_session(store)))
        assert [event.type for event in events] == ["text_delta", "text", "stop"]
    assert not read.is_set()
    read.set()
    await library.close()


async def test_the_first_event_of_a_turn_does_not_wait_for_the_look_at_the_disk(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    looks: list[str] = []
    index = PaperIndex()

    def refresh(*_: object) -> None:
        # Whoever waited for it would go on after these seconds, and find that it has looked.
        go.wait(60)
        looks.append("looked")

    monkeypatch.setattr(index, "refresh", refresh)
    library = Library({"idx-docs": index})
    turn = await started(Turns(store, library, LocalAgent(), Behaviour()), await new_session(store))
    events = live(turn)
    assert (await anext(events)).type == "thinking_delta"
    while (await anext(events)).type != "tool_call":
        pass
    assert looks == []
    go.set()
    async for _ in events:
        pass
    await library.close()
    assert looks == ["looked"]


async def test_a_queued_message_whose_client_left_is_not_recorded(store: Store) -> None:
    gate = Gate()
    agent = ScriptedAgent(gate)
    turns = turns_of(store, agent, concurrent_turns="queue")
    session_id = await new_session(store)
    first = await started(turns, session_id)
    queued = asyncio.create_task(
        turns.start(session_id, "Left?", index_ids=IDS, require_all_indexes=False, is_gone=gone)
    )
    last = asyncio.create_task(started(turns, session_id, "Last?"))
    await asyncio.sleep(0)
    gate.open()
    await shown(first)
    assert await queued is None
    await shown(await last)
    assert [turn.prompt for turn in agent.turns] == ["How many?", "Last?"]


async def test_a_refused_message_leaves_the_session_free(store: Store) -> None:
    turns = turns_of(store)
    session_id = await new_session(store)
    await shown(await started(turns, session_id))
    with pytest.raises(SourcesLocked, match="idx-docs"):
        await turns.start(session_id, "?", index_ids=["idx-b"], require_all_indexes=False, is_gone=here)
    assert (await shown(await started(turns, session_id)))[-1].type == "stop"


async def test_a_session_that_is_deleted_twice_at_once_is_gone_for_the_second(store: Store) -> None:
    session_id = await new_session(store)
    await store.delete_session(session_id)
    with pytest.raises(UnknownSession, match=session_id):
        await store.delete_session(session_id)


async def test_a_session_is_busy_until_the_stop_is_stored_and_not_longer(store: Store) -> None:
    turns = turns_of(store)
    session_id = await new_session(store)
    turn = await started(turns, session_id)
    with pytest.raises(SessionBusy):
        await started(turns, session_id)
    await shown(turn)
    await started(turns, session_id)
    await turns.close(drain=5)


async def test_closing_cancels_what_runs_and_takes_nothing_more(store: Store) -> None:
    gate = Gate()
    turns = turns_of(store, ScriptedAgent(TextDelta(content="a"), gate))
    session_id = await new_session(store)
    turn = await started(turns, session_id)
    await asyncio.to_thread(gate.reached.wait)
    await turns.close()
    events = await shown(turn)
    assert [event.type for event in events] == ["text_delta", "text", "stop"]
    assert isinstance(events[-1], Stop)
    assert events[-1].error == "the server is shutting down"
    with pytest.raises(ShuttingDown):
        await started(turns, session_id)
    assert await store.running_turns() == []


async def test_closing_lets_turns_end_within_the_drain(store: Store) -> None:
    gate = Gate()
    turns = turns_of(store, ScriptedAgent(gate, *ANSWER))
    turn = await started(turns, await new_session(store))
    closing = asyncio.create_task(turns.close(drain=20))
    await asyncio.sleep(0)
    gate.open()
    await closing
    stop = (await shown(turn))[-1]
    assert isinstance(stop, Stop)
    assert not stop.is_error


class Stubborn:
    """An agent that goes on when it is cancelled."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        yield TextDelta(content="a")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
        await self.go.wait()
        yield TextDelta(content="b")


async def test_an_agent_that_ignores_its_cancellation_does_not_hold_up_the_close(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "_PATIENCE", 0.01)
    agent = Stubborn()
    turns = turns_of(store, agent)
    turn = await started(turns, await new_session(store))
    assert (await anext(aiter(live(turn)))).type == "text_delta"
    await turns.close()
    assert agent.cancelled.is_set()
    agent.go.set()
    await shown(turn)


async def test_a_second_reason_to_cancel_does_not_disturb_the_first(store: Store) -> None:
    gate = Gate()
    turns = turns_of(store, ScriptedAgent(gate))
    turn = await started(turns, await new_session(store))
    await asyncio.to_thread(gate.reached.wait)
    turn.cancel("the first")
    turn.cancel("the second")
    stop = (await shown(turn))[-1]
    assert isinstance(stop, Stop)
    assert stop.error == "the first"


async def test_an_answering_task_that_is_cancelled_from_outside_still_ends_its_turn(store: Store) -> None:
    gate = Gate()
    turns = turns_of(store, ScriptedAgent(gate))
    turn = await started(turns, await new_session(store))
    await asyncio.to_thread(gate.reached.wait)
    assert turn.answering is not None
    turn.answering.cancel()
    stop = (await shown(turn))[-1]
    assert isinstance(stop, Stop)
    assert stop.error == "the server is shutting down"


class Raising:
    """An agent that raises once it has said something."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        yield TextDelta(content="a")
        raise self.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("boom"), "the agent failed: ValueError: boom"),
        (SystemExit("bye"), "the agent failed: SystemExit: bye"),
        (asyncio.CancelledError(), "the agent failed: CancelledError"),
        (GeneratorExit(), "the agent failed: GeneratorExit"),
        (BaseExceptionGroup("two", [SystemExit(1)]), "the agent failed: BaseExceptionGroup: two (1 sub-exception)"),
    ],
    ids=repr,
)
async def test_whatever_an_agent_raises_ends_its_turn_alone(store: Store, error: BaseException, said: str) -> None:
    turns = turns_of(store, Raising(error))
    session_id = await new_session(store)
    for _ in range(2):
        events = await shown(await started(turns, session_id))
        assert [event.type for event in events] == ["text_delta", "text", "stop"]
        assert isinstance(events[-1], Stop)
        assert (events[-1].is_error, events[-1].error) == (True, said)
    assert await store.running_turns() == []


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "stop"},
        {"type": "text", "content": "hi"},
        {"usage": {}, "is_error": False},
        {"type": "user_input", "content": "forged"},
    ],
    ids=repr,
)
async def test_an_agent_cannot_pass_off_an_event_as_one_of_an_unknown_type(store: Store, raw: dict[str, Any]) -> None:
    turns = turns_of(store, ScriptedAgent(UnknownEvent(raw=raw)))
    session_id = await new_session(store)
    (stop,) = await shown(await started(turns, session_id))
    assert isinstance(stop, Stop)
    assert "an UnknownEvent cannot replace" in str(stop.error)
    assert [event.type for event in await store.events(session_id)] == ["user_input", "stop"]


async def test_an_event_of_an_unknown_type_is_streamed_as_it_is(store: Store) -> None:
    event = UnknownEvent(raw={"type": "citation", "content": "p. 3"})
    turns = turns_of(store, ScriptedAgent(event))
    assert (await shown(await started(turns, await new_session(store))))[0] == event


class Plain:
    """An agent whose iterator is no generator, and cannot be closed."""

    def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        return self

    def __aiter__(self) -> Plain:
        return self

    async def __anext__(self) -> Event:
        return Stop.model_validate({"usage": {}, "is_error": False})


async def test_an_agent_may_give_any_async_iterator(store: Store) -> None:
    turns = turns_of(store, Plain())
    assert [event.type for event in await shown(await started(turns, await new_session(store)))] == ["stop"]


@pytest.mark.parametrize("steps", [[Gate], [TextDelta(content="b")] * 2000])
async def test_a_store_that_fails_ends_the_turn_and_says_so(store: Store, tmp_path: Path, steps: list[Step]) -> None:
    gate = Gate()
    turns = turns_of(
        store, ScriptedAgent(gate, TextDelta(content="a"), *[s() if isinstance(s, type) else s for s in steps])
    )
    turn = await started(turns, await new_session(store))
    await asyncio.to_thread(gate.reached.wait)
    with sqlite3.connect(tmp_path / "chat.db") as other:
        other.execute("DROP TABLE events")
    other.close()
    gate.open()
    events = await shown(turn)
    assert [event.type for event in events] == ["stop"]
    assert isinstance(events[0], Stop)
    assert events[0].is_error
    assert "the answer could not be stored" in str(events[0].error)
    assert "no such table: events" in str(events[0].error)
