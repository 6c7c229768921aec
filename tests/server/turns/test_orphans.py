"""On SQLite, a server ends its own turns that are no longer answered, and only those."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from chat_sessions.core.events import Stop, TextDelta, parse_event_json
from chat_sessions.server.store.database import StoreFailed
from chat_sessions.server.store.records import RunningRecord, StoredEvent
from chat_sessions.server.store.store import Store
from chat_sessions.server.turns import orphans as orphans_module
from chat_sessions.server.turns.orphans import Orphans
from tests.server.scripted import ANSWER, IDS, Gate, ScriptedAgent, live
from tests.server.turns.test_turns import new_session, shown, started, turns_of

ASKED = StoredEvent("user_input", '{"type":"user_input","content":"?"}')


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(f"sqlite:///{tmp_path}/chat.db")
    yield store
    await store.close()


def execute(tmp_path: Path, statement: str) -> None:
    with closing(sqlite3.connect(tmp_path / "chat.db")) as connection, connection:
        connection.execute(statement)


async def types_of(store: Store, session_id: str) -> list[str]:
    return [event.type for event in await store.events(session_id)]


async def test_a_turn_whose_end_could_not_be_stored_is_ended_when_it_can_be(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans_module, "_EVERY", 0)
    gate = Gate()
    turns = turns_of(store, ScriptedAgent(TextDelta(content="a"), gate))
    await turns.open()
    session_id = await new_session(store)
    turn = await started(turns, session_id)
    assert (await anext(aiter(live(turn)))).type == "text_delta"
    execute(tmp_path, "ALTER TABLE events RENAME TO hidden")
    gate.open()
    assert "could not be stored" in str(await shown(turn))
    execute(tmp_path, "ALTER TABLE hidden RENAME TO events")
    while await types_of(store, session_id) != ["user_input", "text_delta", "text", "stop"]:
        pass
    await turns.close()


async def test_the_watch_ends_a_turn_that_was_left_behind_and_then_rests(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans_module, "_EVERY", 0)
    looks = 0
    actual = store.running_turns

    async def counted() -> list[RunningRecord]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise StoreFailed("the disk is full")
        return await actual()

    turns = turns_of(store)
    await turns.open()
    monkeypatch.setattr(store, "running_turns", counted)
    session_id = await new_session(store)
    await store.begin_turn(session_id, ASKED, index_ids=IDS, title=None, locked=True)
    turns._orphans.suspect()
    while await types_of(store, session_id) != ["user_input", "stop"]:
        pass
    await turns.close()
    assert looks == 2


async def test_the_turn_of_another_process_is_left_alone(store: Store, tmp_path: Path) -> None:
    other = await Store.open(f"sqlite:///{tmp_path}/chat.db")
    session_id = await new_session(other)
    await other.begin_turn(session_id, ASKED, index_ids=IDS, title=None, locked=True)
    watching = turns_of(store)._orphans
    await watching.look(lambda: 0.0)
    await watching.look(lambda: 1e6)
    assert await types_of(store, session_id) == ["user_input"]
    await other.close()


async def test_a_turn_that_is_just_beginning_is_not_taken_for_one_left_behind(store: Store) -> None:
    session_id = await new_session(store)
    await store.begin_turn(session_id, ASKED, index_ids=IDS, title=None, locked=True)
    beginning = {session_id}
    orphans = Orphans(
        store,
        answered=list[int],
        is_beginning=beginning.__contains__,
        lost=lambda turn_id: None,
        closing=lambda events: ([StoredEvent("stop", "{}")], {}),
    )
    await orphans.look()
    assert await types_of(store, session_id) == ["user_input"]
    beginning.clear()
    await orphans.look()
    assert await types_of(store, session_id) == ["user_input", "stop"]


async def test_a_message_whose_request_was_cancelled_while_it_was_recorded_leaves_no_turn_running(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = asyncio.Event()
    actual = store.begin_turn

    async def slow(*args: object, **kwargs: object) -> int:
        turn_id: int = await actual(*args, **kwargs)  # type: ignore[arg-type]
        recorded.set()
        await asyncio.Event().wait()
        return turn_id

    monkeypatch.setattr(store, "begin_turn", slow)
    monkeypatch.setattr(orphans_module, "_EVERY", 0)
    turns = turns_of(store, ScriptedAgent(*ANSWER))
    await turns.open()
    session_id = await new_session(store)
    request = asyncio.create_task(started(turns, session_id))
    await recorded.wait()
    request.cancel()
    await asyncio.wait([request])
    while await types_of(store, session_id) != ["user_input", "stop"]:
        pass
    await turns.close()


async def test_closing_waits_for_a_message_that_is_being_recorded_and_ends_its_turn(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording, go = asyncio.Event(), asyncio.Event()
    actual = store.begin_turn

    async def slow(*args: object, **kwargs: object) -> int:
        recording.set()
        await go.wait()
        return await actual(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "begin_turn", slow)
    turns = turns_of(store, ScriptedAgent(Gate()))
    session_id = await new_session(store)
    request = asyncio.create_task(started(turns, session_id))
    await recording.wait()
    close = asyncio.create_task(turns.close())
    await asyncio.sleep(0)
    go.set()
    await close
    stop = parse_event_json((await store.events(session_id))[-1].body)
    assert isinstance(stop, Stop)
    assert stop.error == "the server is shutting down"
    await shown(await request)
