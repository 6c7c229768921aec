"""A connection that is lost while PostgreSQL commits: what was written is found again, and is not written twice."""

from __future__ import annotations

from tests.server.postgresql import libpq_url, require_postgresql

require_postgresql()

import asyncio  # noqa: E402
from collections.abc import AsyncIterator  # noqa: E402
from contextlib import AsyncExitStack  # noqa: E402

import psycopg  # noqa: E402
import pytest  # noqa: E402
from sqlalchemy import make_url  # noqa: E402

from chat_sessions.core.events import TextDelta  # noqa: E402
from chat_sessions.server.store.records import RunningRecord, StoredEvent  # noqa: E402
from chat_sessions.server.store.store import Store  # noqa: E402
from tests.server.postgres.test_sharing import ASKED, begin, new_session, shown, started, turns_of  # noqa: E402
from tests.server.scripted import Gate  # noqa: E402

SAID = StoredEvent("text_delta", '{"type":"text_delta","content":"a"}')
STOP = StoredEvent("stop", "{}")


class Relay:
    """Stands before PostgreSQL, and cuts the next connections that commit."""

    def __init__(self, database: str, *, is_done: bool) -> None:
        with psycopg.connect(libpq_url(database)) as connection:
            self._host, self._port = connection.info.host, connection.info.port
        # Whether PostgreSQL has committed when the connection is lost.
        self._is_done = is_done
        self.to_cut = 0

    async def relay(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Pass on what one connection says."""
        if self._host.startswith("/"):
            server, to_server = await asyncio.open_unix_connection(f"{self._host}/.s.PGSQL.{self._port}")
        else:
            server, to_server = await asyncio.open_connection(self._host, self._port)
        committed = asyncio.Event()

        async def ask() -> None:
            while data := await client.read(65536):
                if self.to_cut and b"COMMIT\0" in data:
                    self.to_cut -= 1
                    if not self._is_done:
                        return
                    committed.set()
                to_server.write(data)

        async def answer() -> None:
            while (data := await server.read(65536)) and not committed.is_set():
                to_client.write(data)

        ways = [asyncio.create_task(ask()), asyncio.create_task(answer())]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        to_server.close()
        to_client.close()
        await asyncio.gather(*ways, return_exceptions=True)


@pytest.fixture(params=[False, True], ids=["before it commits", "after it committed"])
async def relay(database: str, request: pytest.FixtureRequest) -> AsyncIterator[Relay]:
    relay = Relay(database, is_done=request.param)
    yield relay
    assert relay.to_cut == 0


@pytest.fixture
async def store(database: str, relay: Relay) -> AsyncIterator[Store]:
    """A store behind the relay."""
    async with AsyncExitStack() as stack:
        listening = await stack.enter_async_context(await asyncio.start_server(relay.relay, "127.0.0.1", 0))
        url = make_url(database).set(host="127.0.0.1", port=listening.sockets[0].getsockname()[1])
        # The relay must be able to read it.
        url = url.update_query_dict({"sslmode": "disable", "gssencmode": "disable"})
        store = await Store.open(url.render_as_string(hide_password=False))
        stack.push_async_callback(store.close)
        yield store


async def types_in(store: Store, session_id: str) -> list[str]:
    return [event.type for event in await store.events(session_id)]


async def test_events_are_stored_once(store: Store, relay: Relay) -> None:
    session_id = await new_session(store)
    turn_id = await begin(store, session_id)
    # The same event three times: what it says does not tell whether it is stored.
    for _ in range(3):
        relay.to_cut = 2
        await store.append(session_id, turn_id, [SAID])
    assert await types_in(store, session_id) == ["user_input", *["text_delta"] * 3]


async def test_the_end_of_a_turn_is_stored_once(store: Store, relay: Relay) -> None:
    session_id = await new_session(store)
    turn_id = await begin(store, session_id)
    relay.to_cut = 1
    await store.append(session_id, turn_id, [SAID, STOP], job_metadata={})
    assert await types_in(store, session_id) == ["user_input", "text_delta", "stop"]
    assert await store.running_turns() == []


async def test_a_turn_goes_on(store: Store, relay: Relay) -> None:
    gate = Gate()
    session_id = await new_session(store)
    relay.to_cut = 1
    turn = await started(turns_of(store, TextDelta(content="a"), gate, TextDelta(content="a")), session_id)
    relay.to_cut = 1
    gate.open()
    assert [event.type for event in await shown(turn)] == ["text_delta"] * 2 + ["text", "stop"]
    assert await types_in(store, session_id) == ["user_input", "text_delta", "text_delta", "text", "stop"]


async def test_a_turn_begins_once(store: Store, relay: Relay) -> None:
    session_id = await new_session(store)
    relay.to_cut = 1
    turn_id = await begin(store, session_id)
    assert [turn.turn_id for turn in await store.running_turns()] == [turn_id]
    assert await store.events(session_id) == [ASKED]


async def test_a_session_is_created_once_and_deleted(store: Store, relay: Relay) -> None:
    relay.to_cut = 1
    session_id = await new_session(store)
    assert [session.session_id for session in await store.sessions(limit=9)] == [session_id]
    relay.to_cut = 1
    await store.delete_session(session_id)
    assert await store.count_sessions() == 0


async def test_a_turn_is_ended_once_for_its_process(store: Store, relay: Relay) -> None:
    session_id = await new_session(store)
    turn_id = await begin(store, session_id)
    relay.to_cut = 1
    own = RunningRecord(session_id, turn_id, is_own=True, is_orphan=False)
    assert await store.close_turn(own, lambda events: ([STOP], {}))
    assert await types_in(store, session_id) == ["user_input", "stop"]
