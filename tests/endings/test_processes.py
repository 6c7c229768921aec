"""What becomes of an open stream when its process is interrupted, forks or ends: real processes, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

import pytest

from chat_sessions import Stop, TextDelta, Usage
from chat_sessions.langchain.input.sessions import Place, Sessions
from chat_sessions.session import turn_queue
from chat_sessions.session.stored import turn_count
from chat_sessions.session.stored.turn_count import TurnCount
from chat_sessions.session.turn_queue import wait_for_turn
from tests.llama_cloud.test_client import SUMMARY
from tests.wire_server import Connection, Request, WireServer

STOP = Stop(usage=Usage(), is_error=False)
# Long enough for a busy machine; nothing here waits for it when all is well.
PATIENCE = 60

BEGIN = """
import asyncio, os, signal, sys
from chat_sessions import ConfigurationError, LlamaCloudChat
chat = LlamaCloudChat(api_key="k", base_url=sys.argv[1], index_ids=["i"])

def say(*words):
    print(*words, flush=True)
"""


@dataclass
class Service:
    """Streams one event and no more; `left` is set when the client has gone."""

    url: str
    left: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def service() -> Iterator[Service]:
    with WireServer() as wire:
        made = Service(wire.url)

        def stream(_: Request, connection: Connection) -> None:
            connection.start_stream()
            connection.events(TextDelta(content="Hel"))
            connection.wait_until_closed()
            made.left.set()

        def summary(_: Request, connection: Connection) -> None:
            connection.respond(200, SUMMARY)

        wire.on("POST", "/messages/stream", stream)
        wire.on("GET", "/summary", summary)
        yield made


class Script:
    """A Python program that runs."""

    def __init__(self, service: Service, body: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", BEGIN + body, service.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # What a buffer holds after a line is lost to `communicate`.
            bufsize=0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def wait_for(self, line: str) -> None:
        assert self._process.stdout is not None
        said = self._process.stdout.readline().decode().rstrip("\n")
        if said != line:
            self._process.kill()
            raise AssertionError(f"{said!r} instead of {line!r}: {self.end()[2]}")

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str, str]:
        """Its exit status, the rest of what it said, and its errors."""
        said, errors = self._process.communicate(timeout=PATIENCE)
        return self._process.returncode, said.decode().strip(), errors.decode()


SYNC_INTERRUPTED = """
try:
    with chat.stream("ses-1", "q") as stream:
        for event in stream:
            say("reading")
except KeyboardInterrupt:
    say("left with", stream.turn.text, stream.is_closed)
say(chat.get_summary("ses-1").session_id)
"""

ASYNC_INTERRUPTED = """
async def read():
    global stream
    async with chat.aio.stream("ses-1", "q") as stream:
        async for event in stream:
            say("reading")
try:
    asyncio.run(read())
except KeyboardInterrupt:
    say("left with", stream.turn.text, stream.is_closed)
say(asyncio.run(chat.aio.get_summary("ses-1")).session_id)
"""


@pytest.mark.parametrize("body", [SYNC_INTERRUPTED, ASYNC_INTERRUPTED], ids=["sync", "asyncio.run"])
def test_ctrl_c_closes_the_socket_keeps_the_turn_so_far_and_leaves_a_client_that_works(
    service: Service, body: str
) -> None:
    with Script(service, body) as script:
        script.wait_for("reading")
        script.interrupt()
        script.wait_for("left with Hel True")
        assert service.left.wait(PATIENCE)
        assert script.end() == (0, "ses-1", "")


def test_ctrl_c_that_nobody_catches_ends_the_process_as_it_ends_any(service: Service) -> None:
    with Script(service, 'for event in chat.stream("ses-1", "q"):\n    say("reading")') as script:
        script.wait_for("reading")
        script.interrupt()
        status, said, errors = script.end()
        assert (status, said) == (-signal.SIGINT, "")
        # The one traceback is the interrupt's own.
        assert errors.count("Traceback") == 1
        assert errors.rstrip().endswith("KeyboardInterrupt")
        assert service.left.wait(PATIENCE)


LEFT_OPEN = {
    "sync": """
stream = chat.stream("ses-1", "q")
say(next(stream).content)
""",
    "sync, in a generator": """
def pieces():
    with chat.stream("ses-1", "q") as stream:
        yield from stream.text_deltas()
made = pieces()
say(next(made))
""",
    "asyncio.run": """
async def read():
    global stream
    stream = chat.aio.stream("ses-1", "q")
    say((await anext(stream)).content)
asyncio.run(read())
""",
    "asyncio.run, left by break": """
async def read():
    async with chat.aio.stream("ses-1", "q") as stream:
        async for event in stream:
            say(event.content)
            break
asyncio.run(read())
""",
    "asyncio.run, in a task": """
async def read():
    global task
    seen = asyncio.Event()
    async def forever():
        async for event in chat.aio.stream("ses-1", "q"):
            say(event.content)
            seen.set()
    task = asyncio.create_task(forever())
    await seen.wait()
asyncio.run(read())
""",
    "asyncio.run, in a generator": """
async def read():
    global made
    made = chat.aio.stream("ses-1", "q").text_deltas()
    say(await anext(made))
asyncio.run(read())
""",
}


@pytest.mark.parametrize("body", LEFT_OPEN.values(), ids=LEFT_OPEN)
def test_a_process_that_ends_with_an_open_stream_ends_at_once_and_says_nothing(service: Service, body: str) -> None:
    with Script(service, body) as script:
        script.wait_for("Hel")
        assert script.end() == (0, "", "")
        assert service.left.wait(PATIENCE)


def test_a_process_whose_daemon_thread_reads_a_stream_ends_at_once(service: Service) -> None:
    body = """
import threading
seen = threading.Event()
def read():
    for event in chat.stream("ses-1", "q"):
        seen.set()
threading.Thread(target=read, daemon=True).start()
seen.wait()
say("Hel")
"""
    with Script(service, body) as script:
        script.wait_for("Hel")
        # What the thread says depends on how far it has come: Python ends it where it stands.
        assert script.end()[0] == 0
        assert service.left.wait(PATIENCE)


def test_sys_exit_in_the_midst_of_a_stream_is_no_more_than_that(service: Service) -> None:
    with Script(service, 'with chat.stream("ses-1", "q") as stream:\n    next(stream)\n    sys.exit(3)') as script:
        assert script.end() == (3, "", "")
        assert service.left.wait(PATIENCE)


FORKED = """
import gc
stream = chat.stream("ses-1", "q").open()
assert next(stream).content == "Hel"
for act in ("leaves", "reads", "closes", "asks"):
    if not (child := os.fork()):
        if act == "reads":
            try:
                next(stream)
            except ConfigurationError as error:
                assert "forked" in str(error), error
            else:
                os._exit(5)
        elif act == "closes":
            stream.close()
        elif act == "asks":
            assert chat.get_summary("ses-1").session_id == "ses-1"
        # Not os._exit: the child's own end must do no harm either.
        sys.exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, act
say("forked")
assert stream.result().text == "Hello", stream.turn
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_does_no_harm_to_the_stream_that_its_parent_reads(service: Service) -> None:
    go_on = threading.Event()
    with WireServer() as wire:

        def stream(_: Request, connection: Connection) -> None:
            connection.start_stream()
            connection.events(TextDelta(content="Hel"))
            go_on.wait(PATIENCE)
            connection.events(TextDelta(content="lo"), STOP)
            connection.end_stream()

        wire.on("POST", "/messages/stream", stream)
        wire.on("GET", "/summary", lambda _, connection: connection.respond(200, SUMMARY))
        with Script(Service(wire.url), FORKED) as script:
            script.wait_for("forked")
            go_on.set()
            assert script.end() == (0, "", "")
            assert len(wire.posts()) == 1


SESSIONS = Sessions()
LOCKS = [
    pytest.param(turn_queue, "_lock", lambda: wait_for_turn("k").release(), id="the queue of turns"),
    pytest.param(turn_count, "_guard", lambda: TurnCount.of(("k",)), id="the count of turns"),
    pytest.param(SESSIONS, "_guard", lambda: SESSIONS.of_thread(Place("thread-1")), id="the sessions of a model"),
]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize(("holder", "name", "use"), LOCKS)
def test_a_child_does_not_wait_for_a_thread_of_its_parent(holder: object, name: str, use: Callable[[], object]) -> None:
    is_held, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with getattr(holder, name):
            is_held.set()
            may_go.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(PATIENCE)
    assert ends_in_a_child(use)
    may_go.set()
    thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize(("holder", "name", "use"), LOCKS)
def test_a_signal_handler_does_not_wait_for_the_code_that_it_interrupts(
    holder: object, name: str, use: Callable[[], object]
) -> None:
    def interrupted() -> None:
        with getattr(holder, name):
            signal.raise_signal(signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: use())
    try:
        # In a child, which can be ended if it hangs.
        assert ends_in_a_child(interrupted)
    finally:
        signal.signal(signal.SIGUSR1, before)


def ends_in_a_child(act: Callable[[], object]) -> bool:
    """Whether a child of this process does this, and ends. One that hangs is ended."""
    if not (child := os.fork()):
        signal.alarm(10)
        try:
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0
