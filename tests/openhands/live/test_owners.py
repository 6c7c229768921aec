"""Whose a stream is: one reader at a time, in the event loop and the process that opened it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.events import TextDelta
from chat_sessions.openhands import OpenHandsChat
from tests.faces import do, entered
from tests.openhands.servers.agent_server import API_KEY, AgentServer
from tests.openhands.servers.model_server import ModelServer
from tests.openhands.servers.proxy import Proxy
from tests.openhands.test_turns import read_half
from tests.session.test_turn_queue import until_waiting

pytestmark = pytest.mark.openhands

_REST = "it, and the rest."
_PATIENCE = 60


@pytest.fixture
def held(model: ModelServer) -> Iterator[ModelServer]:
    """The model, which holds the second half of its answer."""
    model.hold()
    yield model
    model.release()


async def rest_of(stream: Any) -> str:
    """What is still to be shown, read by a task, or by a thread where the stream is sync."""
    if hasattr(stream, "__anext__"):
        return "".join([event.content async for event in stream if isinstance(event, TextDelta)])
    return await asyncio.to_thread(lambda: "".join(stream.text_deltas()))


async def test_waiting_for_ones_own_open_turn_is_an_error_and_no_deadlock(chat: Any, held: ModelServer) -> None:
    session = chat.session()
    async with entered(session.stream("HELD")) as stream:
        await read_half(stream)
        with pytest.raises(ConfigurationError, match=r"still has an open turn.*read the turn 'HELD'"):
            await do(session.ask("TEXT never"))
        held.release()
        assert (await do(stream.result())).text == "Half of " + _REST
    assert (await do(session.ask("TEXT next"))).text == "Plain answer in pieces."
    assert [turn.prompt for turn in await do(session.turns())] == ["HELD", "TEXT next"]


async def test_a_second_reader_is_refused_and_the_first_reads_on(chat: Any, held: ModelServer) -> None:
    async with entered(chat.session().stream("HELD")) as stream:
        await read_half(stream)
        readers = [asyncio.create_task(rest_of(stream)) for _ in range(2)]
        refused, reading = await asyncio.wait(readers, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(ConfigurationError, match="another thread or task is already waiting"):
            await refused.pop()
        held.release()
        assert await reading.pop() == _REST


async def test_a_stream_is_handed_to_another_reader_and_its_opener_waits_for_that_turn(
    chat: Any, held: ModelServer
) -> None:
    session = chat.session()
    stream = await do(session.stream("HELD").open())
    await read_half(stream)
    if hasattr(stream, "__anext__"):
        reader = asyncio.create_task(rest_of(stream))
        await asyncio.to_thread(_wait_for_reader, stream)
        asking = asyncio.create_task(session.ask("TEXT next"))
        await asyncio.to_thread(until_waiting, chat.queue_key(session.id), 2)
        held.release()
        assert (await reader, (await asking).text) == (_REST, "Plain answer in pieces.")
    else:
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(lambda: "".join(stream.text_deltas()))
            _wait_for_reader(stream)
            second = pool.submit(session.ask, "TEXT next")
            until_waiting(chat.queue_key(session.id), 2)
            held.release()
            done = concurrent.futures.wait((first, second), _PATIENCE).done
            assert len(done) == 2
            assert (first.result(), second.result().text) == (_REST, "Plain answer in pieces.")


def _wait_for_reader(stream: Any) -> None:
    """Wait until somebody waits for the stream's next event."""
    tick = threading.Event()
    while not stream._slot.is_reading:
        tick.wait(0.01)


@pytest.fixture
def gone(server: AgentServer) -> Iterator[tuple[OpenHandsChat, threading.Event]]:
    """A client, and whether it has closed a websocket."""
    left = threading.Event()
    with Proxy(server.port) as proxy, server.client(base_url=proxy.url) as chat:
        proxy.on_end = lambda head: left.set() if b"/sockets/" in head else None
        yield chat, left


async def half_read(chat: OpenHandsChat) -> Any:
    stream = chat.aio.session().stream("HELD")
    await read_half(stream)
    return stream


async def read_on(stream: Any) -> None:
    await anext(stream)


# asyncio warns of a transport whose loop was closed, when it is collected: in that test or in a later one.
unclosed = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@unclosed
@pytest.mark.usefixtures("held")
def test_a_stream_that_is_read_in_another_event_loop_says_so_and_is_closed(
    gone: tuple[OpenHandsChat, threading.Event],
) -> None:
    chat, left = gone
    stream = asyncio.run(half_read(chat))
    with pytest.raises(ConfigurationError, match="opened in another event loop"):
        asyncio.run(read_on(stream))
    assert stream.is_closed
    assert left.wait(_PATIENCE)


@pytest.mark.usefixtures("held")
async def test_a_stream_that_is_read_in_another_threads_event_loop_is_closed_by_its_own(
    gone: tuple[OpenHandsChat, threading.Event],
) -> None:
    chat, left = gone
    stream = await half_read(chat)
    with pytest.raises(ConfigurationError, match="opened in another event loop"):
        await asyncio.to_thread(asyncio.run, read_on(stream))
    assert stream.is_closed
    assert await asyncio.to_thread(left.wait, _PATIENCE)
    await chat.aio.close()


@unclosed
@pytest.mark.usefixtures("held")
def test_a_stream_can_be_closed_in_another_event_loop(gone: tuple[OpenHandsChat, threading.Event]) -> None:
    chat, left = gone
    stream = asyncio.run(half_read(chat))
    asyncio.run(stream.close())
    assert stream.is_closed
    assert left.wait(_PATIENCE)


@unclosed
@pytest.mark.usefixtures("held")
async def test_a_stream_that_was_dropped_closes_its_websocket(
    gone: tuple[OpenHandsChat, threading.Event], face: str
) -> None:
    made, left = gone
    chat: Any = made if face == "sync" else made.aio
    stream = await do(chat.session().stream("HELD").open())
    await read_half(stream)
    del stream
    gc.collect()
    assert await asyncio.to_thread(left.wait, _PATIENCE)
    await do(chat.close())


FORKING = """
import asyncio, gc, json, os, sys
from chat_sessions import ConfigurationError
from chat_sessions.openhands import OpenHandsChat

chat = OpenHandsChat(**json.loads(sys.argv[1]))
HALF, WHOLE = "Half of ", "Half of it, and the rest."

def forked(act):
    child = os.fork()
    if child:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, act
    return not child
"""

SYNC_FORKING = """
stream = chat.session().stream("HELD").open()
while stream.turn.text != HALF:
    next(stream)
for act in ("leaves", "reads", "closes", "drops", "asks"):
    if forked(act):
        if act == "reads":
            try:
                next(stream)
            except ConfigurationError as error:
                assert "belongs to the parent" in str(error), error
            else:
                os._exit(5)
        elif act == "closes":
            stream.close()
        elif act == "drops":
            del stream
            gc.collect()
        elif act == "asks":
            assert chat.session().ask("TEXT please").text == "Plain answer in pieces."
        # Not os._exit: the child's own end must do no harm either.
        sys.exit(0)
print("forked", flush=True)
assert stream.result().text == WHOLE, stream.turn
"""

ASYNC_FORKING = """
async def read(stream):
    try:
        await anext(stream)
    except ConfigurationError as error:
        assert "belongs to the parent" in str(error), error
        return
    os._exit(5)

async def ask():
    async with chat.aio as twin:
        assert (await twin.session().ask("TEXT please")).text == "Plain answer in pieces."

async def main():
    stream = await chat.aio.session().stream("HELD").open()
    while stream.turn.text != HALF:
        await anext(stream)
    for act in ("leaves", "reads", "closes", "drops", "asks"):
        if forked(act):
            # A child of a running event loop has a loop of its own, as one of multiprocessing has.
            try:
                if act == "reads":
                    asyncio.run(read(stream))
                elif act == "closes":
                    asyncio.run(stream.close())
                elif act == "drops":
                    del stream
                    gc.collect()
                elif act == "asks":
                    asyncio.run(ask())
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
    print("forked", flush=True)
    assert (await stream.result()).text == WHOLE, stream.turn
    await chat.aio.close()

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_does_no_harm_to_the_stream_that_its_parent_reads(
    server: AgentServer, face: str, held: ModelServer
) -> None:
    arguments = {
        "base_url": server.url,
        "api_key": API_KEY,
        "llm": server.llm,
        "workspace": str(server.workspace),
        "conversation": {"autotitle": False},
    }
    # Newer Pythons warn of any fork beside a thread, and websockets has one.
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c"]
    script = FORKING + (SYNC_FORKING if face == "sync" else ASYNC_FORKING)
    with subprocess.Popen(
        [*command, script, json.dumps(arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            held.release()
            rest, errors = process.communicate(timeout=_PATIENCE)
        finally:
            process.kill()
    assert (said, rest, errors, process.returncode) == ("forked\n", "", "", 0)
