"""Events of many turns, written together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from chat_sessions.server.store.appends import Append, Appends
from chat_sessions.server.store.database import Database, StoreFailed
from chat_sessions.server.store.records import StoredEvent, TurnLost
from chat_sessions.server.store.store import Store

_T = TypeVar("_T")

ASKED = StoredEvent("user_input", '{"type":"user_input","content":"Why?"}')
UNWRITABLE = StoredEvent("text_delta", "\ud800")


def delta(number: int) -> StoredEvent:
    return StoredEvent("text_delta", f'{{"type":"text_delta","content":"{number}"}}')


class CountedDatabase(Database):
    """A database that counts its transactions."""

    written = 0

    async def write(self, work: Callable[[Connection], _T]) -> _T:
        self.written += 1
        return await super().write(work)


class Turns:
    """Turns of a store on SQLite, one in each of its sessions, and the appends to it."""

    def __init__(self, store: Store, database: CountedDatabase) -> None:
        self.store = store
        self.database = database
        self.appends = Appends(database)

    async def begin(self) -> tuple[str, int]:
        session_id = (await self.store.create_session(index_ids=None, shared_access=None)).session_id
        turn_id = await self.store.begin_turn(session_id, ASKED, index_ids=[], title=None, locked=False)
        return session_id, turn_id

    async def stored(self, session_id: str) -> list[StoredEvent]:
        return (await self.store.events(session_id))[1:]


@pytest.fixture
async def turns(tmp_path: Path) -> AsyncIterator[Turns]:
    url = f"sqlite:///{tmp_path / 'chat.db'}"
    store = await Store.open(url)
    database = CountedDatabase.at(url)
    assert isinstance(database, CountedDatabase)
    try:
        yield Turns(store, database)
    finally:
        await database.close()
        await store.close()


async def test_what_many_turns_add_at_once_is_one_transaction(turns: Turns) -> None:
    begun = [await turns.begin() for _ in range(20)]
    await asyncio.gather(*(turns.appends.add(Append(*turn, [delta(0), delta(1)])) for turn in begun))
    assert turns.database.written == 1
    for session_id, _ in begun:
        assert await turns.stored(session_id) == [delta(0), delta(1)]


async def test_one_transaction_takes_no_more_than_some_hundred_events(turns: Turns) -> None:
    begun = [await turns.begin() for _ in range(4)]
    many = [delta(number) for number in range(300)]
    await asyncio.gather(*(turns.appends.add(Append(*turn, many)) for turn in begun))
    assert turns.database.written == 4
    for session_id, _ in begun:
        assert await turns.stored(session_id) == many


async def test_turns_that_end_together_each_get_their_own_metadata(turns: Turns) -> None:
    begun = [await turns.begin() for _ in range(3)]
    await asyncio.gather(
        *(
            turns.appends.add(Append(*turn, [delta(number)], job_metadata={"turns": number}))
            for number, turn in enumerate(begun)
        )
    )
    records = [await turns.store.session(session_id) for session_id, _ in begun]
    assert [record.job_metadata for record in records] == [{"turns": 0}, {"turns": 1}, {"turns": 2}]
    assert await turns.store.running_turns() == []


async def test_a_turn_that_was_lost_is_told_and_the_others_are_written(turns: Turns) -> None:
    first, deleted, ended, last = [await turns.begin() for _ in range(4)]
    await turns.store.delete_session(deleted[0])
    await turns.store.append(*ended, [delta(1)], job_metadata={})
    outcomes = await asyncio.gather(
        *(turns.appends.add(Append(*turn, [delta(7)])) for turn in (first, deleted, ended, last)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), TurnLost, TurnLost, type(None)]
    assert str(outcomes[1]) == "the session was deleted"
    assert await turns.stored(first[0]) == await turns.stored(last[0]) == [delta(7)]
    assert await turns.stored(ended[0]) == [delta(1)]


async def test_what_one_turn_cannot_write_does_not_end_the_others(turns: Turns) -> None:
    first, broken, last = [await turns.begin() for _ in range(3)]
    outcomes = await asyncio.gather(
        turns.appends.add(Append(*first, [delta(7)])),
        turns.appends.add(Append(*broken, [delta(7), UNWRITABLE])),
        turns.appends.add(Append(*last, [delta(7)])),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), UnicodeEncodeError, type(None)]
    assert await turns.stored(first[0]) == await turns.stored(last[0]) == [delta(7)]
    assert await turns.stored(broken[0]) == []


async def test_a_store_that_fails_is_told_to_every_turn_and_works_again_when_it_can(turns: Turns) -> None:
    begun = [await turns.begin() for _ in range(3)]

    def drop(connection: Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE events RENAME TO elsewhere")

    def restore(connection: Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO events")

    await turns.database.write(drop)
    outcomes = await asyncio.gather(
        *(turns.appends.add(Append(*turn, [delta(7)])) for turn in begun), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [StoreFailed] * 3
    assert turns.database.written == 2  # the one that broke it, and one attempt for all
    await turns.database.write(restore)
    await asyncio.gather(*(turns.appends.add(Append(*turn, [delta(8)])) for turn in begun))
    for session_id, _ in begun:
        assert await turns.stored(session_id) == [delta(8)]


async def test_one_that_does_not_wait_any_more_holds_up_nobody(turns: Turns) -> None:
    first, second = await turns.begin(), await turns.begin()
    left = asyncio.create_task(turns.appends.add(Append(*first, [delta(1)])))
    stays = asyncio.create_task(turns.appends.add(Append(*second, [delta(2)])))
    await asyncio.sleep(0)
    left.cancel()
    await stays
    assert await turns.stored(second[0]) == [delta(2)]
    with pytest.raises(asyncio.CancelledError):
        await left
