"""Two servers on one PostgreSQL, in one process, so that a test can hold any of them at any point."""

from __future__ import annotations

from tests.server.postgresql import libpq_url, require_postgresql

require_postgresql()

import asyncio  # noqa: E402
from collections.abc import AsyncIterator, Awaitable, Callable  # noqa: E402
from contextlib import AsyncExitStack  # noqa: E402

import psycopg  # noqa: E402
import pytest  # noqa: E402
from sqlalchemy import make_url  # noqa: E402

from chat_sessions.core.errors import ConfigurationError  # noqa: E402
from chat_sessions.core.events import Event, Stop, TextDelta, parse_event_json  # noqa: E402
from chat_sessions.server import serve  # noqa: E402
from chat_sessions.server.documents.library import Library  # noqa: E402
from chat_sessions.server.store import database as database_module  # noqa: E402
from chat_sessions.server.store.records import RunningRecord, StoredEvent, TurnLost, TurnRunning  # noqa: E402
from chat_sessions.server.store.store import Store  # noqa: E402
from chat_sessions.server.turns import orphans as orphans_module  # noqa: E402
from chat_sessions.server.turns.behaviour import Behaviour  # noqa: E402
from chat_sessions.server.turns.running import RunningTurn  # noqa: E402
from chat_sessions.server.turns.turns import SessionBusy, Turns  # noqa: E402
from tests.server.scripted import ANSWER, IDS, Gate, LocalApi, PaperIndex, ScriptedAgent, Step, live, types  # noqa: E402

Connect = Callable[[], Awaitable[Store]]
ASKED = StoredEvent("user_input", '{"type":"user_input","content":"?"}')
STOP = "the server stopped while it was answering"


async def here() -> bool:
    return False


async def gone() -> bool:
    return True


@pytest.fixture
async def connect(database: str) -> AsyncIterator[Connect]:
    """Opens stores on one database, each as a process of its own would."""
    async with AsyncExitStack() as stack:

        async def opened() -> Store:
            store = await Store.open(database)
            stack.push_async_callback(store.close)
            return store

        yield opened


def turns_of(store: Store, *steps: Step, **behaviour: object) -> Turns:
    library = Library({"idx-docs": PaperIndex()})
    return Turns(store, library, ScriptedAgent(*(steps or ANSWER)), Behaviour(**behaviour))  # type: ignore[arg-type]


async def started(turns: Turns, session_id: str) -> RunningTurn:
    turn = await turns.start(session_id, "?", index_ids=IDS, require_all_indexes=False, is_gone=here)
    assert turn is not None
    return turn


async def shown(turn: RunningTurn) -> list[Event]:
    return [parse_event_json(event.body) async for event in live(turn)]


async def error_of(turn: RunningTurn) -> str | None:
    stop = (await shown(turn))[-1]
    assert isinstance(stop, Stop)
    return stop.error


def at(now: float) -> Callable[[], float]:
    """A clock that has stopped."""
    return lambda: now


async def new_session(store: Store) -> str:
    return (await store.create_session(index_ids=None, shared_access=None)).session_id


async def begin(store: Store, session_id: str) -> int:
    return await store.begin_turn(session_id, ASKED, index_ids=IDS, title=None, locked=True, alone=True)


def execute(database: str, query: str) -> None:
    with psycopg.connect(libpq_url(database), autocommit=True) as connection:
        connection.execute(query.encode())


def disconnect_all(database: str) -> None:
    """Cuts every other connection to the database, as a restart of PostgreSQL does."""
    execute(
        database,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


async def test_of_two_that_begin_a_turn_at_once_one_does(connect: Connect) -> None:
    stores = [await connect() for _ in range(3)]
    for _ in range(5):
        session_id = await new_session(stores[0])
        begun = await asyncio.gather(*(begin(store, session_id) for store in stores), return_exceptions=True)
        assert sorted(type(result).__name__ for result in begun) == ["TurnRunning", "TurnRunning", "int"]


async def test_a_message_waits_for_a_turn_in_another_process_where_turns_queue(connect: Connect) -> None:
    gate = Gate()
    first, second = await connect(), await connect()
    session_id = await new_session(first)
    turn = await started(turns_of(first, gate, TextDelta(content="a")), session_id)
    waiting = turns_of(second, TextDelta(content="b"), concurrent_turns="queue")
    assert (await waiting.start(session_id, "left", index_ids=IDS, require_all_indexes=False, is_gone=gone)) is None
    queued = asyncio.create_task(started(waiting, session_id))
    gate.open()
    await shown(turn)
    await shown(await queued)
    bodies = [event.body for event in await first.events(session_id, without=["text_delta", "stop", "user_input"])]
    assert bodies == ['{"type":"text","content":"a"}', '{"type":"text","content":"b"}']


async def test_messages_are_answered_side_by_side_where_turns_are_parallel(connect: Connect) -> None:
    gate = Gate()
    first, second = await connect(), await connect()
    session_id = await new_session(first)
    turn = await started(turns_of(first, gate, concurrent_turns="parallel"), session_id)
    assert await error_of(await started(turns_of(second, concurrent_turns="parallel"), session_id)) is None
    gate.open()
    await shown(turn)


async def test_a_turn_whose_process_is_alive_is_never_ended_by_another(connect: Connect) -> None:
    gate = Gate()
    slow, other = await connect(), await connect()
    session_id = await new_session(slow)
    # This one's watch does not run, as if the process had no time for it.
    turn = await started(turns_of(slow, gate), session_id)
    watching = turns_of(other)
    later = iter((0.0, 1e6, 2e6))
    for _ in range(3):
        now = next(later)
        await watching._orphans.look(at(now))
    assert [record.is_orphan for record in await other.running_turns()] == [False]
    gate.open()
    assert await error_of(turn) is None


async def test_a_turn_is_not_ended_by_one_who_is_late_to_hear_that_its_process_is_back(connect: Connect) -> None:
    owner, other = await connect(), await connect()
    session_id = await new_session(owner)
    turn_id = await begin(owner, session_id)
    heard = RunningRecord(session_id, turn_id, is_own=False, is_orphan=True)
    assert not await other.close_turn(heard, lambda events: ([StoredEvent("stop", "{}")], {}))
    await owner.append(session_id, turn_id, [ASKED])


async def test_a_turn_whose_process_has_gone_is_ended_at_the_second_look(connect: Connect) -> None:
    dead, other = await connect(), await connect()
    session_id = await new_session(dead)
    turn_id = await begin(dead, session_id)
    await dead.append(session_id, turn_id, [StoredEvent("text_delta", '{"type":"text_delta","content":"Half"}')])
    await dead.close()
    # PostgreSQL lets the lock go a moment after the connection has closed.
    while not (await other.running_turns())[0].is_orphan:
        pass
    turns = turns_of(other)
    await turns._orphans.look(at(0.0))
    with pytest.raises(SessionBusy):
        await started(turns, session_id)
    await turns._orphans.look(at(orphans_module._GRACE))
    events = [parse_event_json(event.body) for event in await other.events(session_id)]
    assert [event.type for event in events] == ["user_input", "text_delta", "text", "stop"]
    assert isinstance(events[-1], Stop)
    assert events[-1].error == STOP
    assert ((await other.session(session_id)).job_metadata or {})["is_error"] is True
    assert await error_of(await started(turns, session_id)) is None


async def test_two_that_end_the_turn_of_a_dead_process_end_it_once(connect: Connect) -> None:
    dead, *others = [await connect() for _ in range(4)]
    session_id = await new_session(dead)
    await begin(dead, session_id)
    await dead.close()
    watching = [turns_of(other)._orphans for other in others]
    for now in (0.0, 1e6, 2e6, 3e6):
        await asyncio.gather(*(watch.look(at(now)) for watch in watching))
    assert [event.type for event in await others[0].events(session_id)] == ["user_input", "stop"]


async def test_a_process_that_lost_its_connections_keeps_its_turn(connect: Connect, database: str) -> None:
    gate = Gate()
    first, other = await connect(), await connect()
    session_id = await new_session(first)
    turns, watching = turns_of(first, gate, *ANSWER), turns_of(other)
    turn = await started(turns, session_id)
    disconnect_all(database)
    # Whoever looks first sees no life; the owner is back before the second look.
    await watching._orphans.look(at(0.0))
    await turns._orphans.look(at(0.0))
    await watching._orphans.look(at(1e6))
    gate.open()
    assert await error_of(turn) is None


async def test_a_process_that_was_taken_for_dead_writes_nothing_more_into_its_turn(
    connect: Connect, database: str
) -> None:
    gate = Gate()
    first, other = await connect(), await connect()
    session_id = await new_session(first)
    turns = turns_of(first, TextDelta(content="a"), gate, TextDelta(content="b"))
    turn = await started(turns, session_id)
    assert (await anext(aiter(live(turn)))).type == "text_delta"
    disconnect_all(database)
    watching = turns_of(other)
    await watching._orphans.look(at(0.0))
    await watching._orphans.look(at(1e6))
    gate.open()
    assert "another process of the server ended the turn" in str(await error_of(turn))
    assert [event.type for event in await other.events(session_id)] == ["user_input", "text_delta", "text", "stop"]
    assert await error_of(await started(watching, session_id)) is None


async def test_a_turn_goes_on_over_a_restart_of_the_database(connect: Connect, database: str) -> None:
    gates = [Gate() for _ in range(3)]
    store = await connect()
    session_id = await new_session(store)
    steps = [step for gate in gates for step in (gate, TextDelta(content="a"))]
    turn = await started(turns_of(store, *steps), session_id)
    for gate in gates:
        disconnect_all(database)
        gate.open()
    events = await shown(turn)
    assert [event.type for event in events] == ["text_delta"] * 3 + ["text", "stop"]


async def test_a_turn_whose_end_could_not_be_stored_is_ended_later_by_its_own_process(
    connect: Connect, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_PATIENCE", 0.0)
    gate = Gate()
    store = await connect()
    session_id = await new_session(store)
    turns = turns_of(store, TextDelta(content="a"), gate)
    turn = await started(turns, session_id)
    assert (await anext(aiter(live(turn)))).type == "text_delta"
    execute(database, "ALTER TABLE events RENAME TO hidden")
    gate.open()
    assert "the answer could not be stored" in str(await error_of(turn))
    execute(database, "ALTER TABLE hidden RENAME TO events")
    await turns._orphans.look()
    assert [event.type for event in await store.events(session_id)] == ["user_input", "text_delta", "text", "stop"]
    assert await error_of(await started(turns, session_id)) is None


async def test_a_session_deleted_elsewhere_ends_a_turn_that_waits(connect: Connect) -> None:
    gate = Gate()
    first, other = await connect(), await connect()
    session_id = await new_session(first)
    turns = turns_of(first, TextDelta(content="a"), gate)
    turn = await started(turns, session_id)
    await turns_of(other).delete(session_id)
    await turns._orphans.look()
    assert await error_of(turn) == "the session was deleted"
    await asyncio.to_thread(gate.left.wait)


async def test_turns_that_begin_go_on_and_are_deleted_all_at_once_meet_no_deadlock(connect: Connect) -> None:
    stores = [await connect() for _ in range(3)]

    async def live(store: Store, session_id: str) -> str:
        try:
            turn_id = await begin(store, session_id)
            for _ in range(10):
                await store.append(session_id, turn_id, [ASKED])
            await store.append(session_id, turn_id, [ASKED], job_metadata={})
        except (TurnLost, TurnRunning, LookupError) as error:
            return type(error).__name__
        except Exception as error:
            return str(error)
        return "ended"

    for _ in range(3):
        session_id = await new_session(stores[0])
        lives = [asyncio.create_task(live(store, session_id)) for store in stores for _ in range(3)]
        await asyncio.wait(lives, return_when=asyncio.FIRST_COMPLETED)
        await stores[1].delete_session(session_id)
        ends = {await life for life in lives}
        assert ends <= {"ended", "TurnLost", "TurnRunning", f"session {session_id} not found"}


def test_an_id_that_postgresql_cannot_hold_is_unknown(api: LocalApi) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/summary")):
        assert api.http.request(method, f"/api/v1/chat/a%00b{path}").status_code == 404
    assert api.post("a%00b").status_code == 404
    assert api.http.post("/api/v1/chat/a%00b/title", json={"first_message": "hi"}).status_code == 404


def test_a_store_that_does_not_work_is_a_503_until_it_does(api: LocalApi, database: str) -> None:
    session_id = api.create()
    execute(database, "ALTER TABLE sessions RENAME TO hidden")
    for response in (api.http.get("/api/v1/chat"), api.http.post("/api/v1/chat"), api.post(session_id)):
        assert (response.status_code, response.json()) == (
            503,
            {"detail": "the server's store does not work at the moment"},
        )
    execute(database, "ALTER TABLE hidden RENAME TO sessions")
    assert types(api.ask(session_id))[-1] == "stop"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"password": "secret"}, "password authentication failed"),
        ({"database": "no_such_database"}, 'database "no_such_database" does not exist'),
    ],
)
async def test_a_server_that_refuses_is_told_in_its_words(database: str, change: dict[str, str], said: str) -> None:
    url = make_url(database).set(**change).render_as_string(hide_password=False)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=said) as caught:
        await Store.open(url)
    assert "secret" not in str(caught.value)


def test_workers_that_cannot_open_the_store_are_one_clear_error(database: str) -> None:
    url = make_url(database).set(database="no_such_database").render_as_string(hide_password=False)
    with pytest.raises(ConfigurationError, match=r'cannot be opened: .*"no_such_database" does not exist'):
        serve(indexes={"idx-docs": PaperIndex()}, store=url, workers=2, port=0)
