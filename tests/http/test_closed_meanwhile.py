"""A socket that another thread closes in the very moment in which it is used."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpcore
import pytest

from chat_sessions import LlamaCloudChat
from chat_sessions.http.connection.asyncio_network import AsyncStream
from chat_sessions.http.connection.asyncio_socket import Socket, is_readable
from tests.faces import do
from tests.llama_cloud.test_client import SUMMARY
from tests.wire_server import WireServer


class ClosedNext(socket.socket):
    """Closed right after somebody has asked for its number."""

    def fileno(self) -> int:
        number = super().fileno()
        self.close()
        return number


class ClosedFirst(socket.socket):
    """Closed right before somebody asks for its number."""

    def fileno(self) -> int:
        self.close()
        return super().fileno()


class ClosesNext(asyncio.SelectorEventLoop):
    """A loop that ends right after another thread has seen it run."""

    is_seen = False

    def is_running(self) -> bool:
        return self.is_seen or super().is_running()

    def call_soon_threadsafe(self, *arguments: Any, **options: Any) -> asyncio.Handle:  # type: ignore[override]
        self.is_seen = False
        self.close()
        return super().call_soon_threadsafe(*arguments, **options)


@pytest.fixture
def ours_open() -> Iterator[socket.socket]:
    """One end of a connection on which nothing comes, which nobody has closed."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        yield ours


@pytest.fixture(params=[ClosedNext, ClosedFirst])
def ours(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """One end of a connection on which nothing comes."""
    plain, theirs = socket.socketpair()
    with theirs:
        plain.setblocking(False)
        made = request.param(fileno=plain.detach())
        yield made
        made.close()


def test_it_can_be_read_to_its_end(ours: socket.socket) -> None:
    assert is_readable(ours)


def test_its_connection_has_nothing_to_wait_for(ours: socket.socket) -> None:
    assert Socket(ours).has_unread()


async def test_a_read_says_that_the_connection_is_closed(ours: socket.socket) -> None:
    with pytest.raises(httpcore.ReadError):
        await Socket(ours).receive(60)


async def test_a_write_that_waits_says_that_the_connection_is_closed(ours: socket.socket) -> None:
    with pytest.raises(httpcore.WriteError):
        await Socket(ours).send(bytes(10_000_000), 60)


def in_a_thread(call: Callable[[], object]) -> None:
    """Call this in a thread, and wait for it."""
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def read_in(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, held: set[AsyncStream]
) -> tuple[AsyncStream, asyncio.Task[bytes]]:
    """A stream over the socket, which is kept in `held`, and the task that waits for its first byte in the loop."""
    stream = AsyncStream(Socket(sock))
    stream.keep_in(held)
    reading = loop.create_task(stream.read(1))
    loop.call_soon(loop.stop)
    loop.run_forever()
    return stream, reading


def test_what_a_thread_closes_as_the_event_loop_ends_is_held_until_it_is_closed(ours_open: socket.socket) -> None:
    """The loop, which would have closed it, does not run again."""
    loop = asyncio.new_event_loop()
    held: set[AsyncStream] = set()
    stream, reading = read_in(loop, ours_open, held)
    loop.call_soon(loop.stop)
    loop.call_soon(in_a_thread, stream.close)
    loop.run_forever()
    reading.cancel()
    loop.close()
    assert held == {stream}
    assert ours_open.fileno() >= 0
    stream.close()
    assert held == set()
    assert ours_open.fileno() < 0


def test_what_a_thread_closes_as_the_event_loop_is_closed_is_closed(ours_open: socket.socket) -> None:
    loop = ClosesNext()
    held: set[AsyncStream] = set()
    stream, reading = read_in(loop, ours_open, held)
    assert not reading.done()
    loop.is_seen = True
    stream.close()
    assert loop.is_closed()
    assert held == set()
    assert ours_open.fileno() < 0


@pytest.mark.parametrize("kind", [ClosedNext, ClosedFirst])
@pytest.mark.parametrize("face", ["sync", "async"])
async def test_a_request_that_looks_at_it_takes_a_new_connection(face: str, kind: type[socket.socket]) -> None:
    ports: list[int] = []
    with WireServer() as wire:

        def note(_: object, connection: Any) -> None:
            ports.append(connection.client_port)
            connection.respond(200, SUMMARY)

        wire.on("GET", "/summary", note)
        chat = LlamaCloudChat(api_key="k", base_url=wire.url, max_retries=0)
        client: Any = chat if face == "sync" else chat.aio
        await do(client.get_summary("ses-1"))
        holder, name = socket_of(client)
        sock = kind(fileno=getattr(holder, name).detach())
        sock.setblocking(face == "sync")
        setattr(holder, name, sock)
        assert (await do(client.get_summary("ses-1"))).session_id == "ses-1"
        assert len(set(ports)) == 2
        await do(client.close())
        assert await asyncio.to_thread(wire.was_left)


def socket_of(client: Any) -> tuple[Any, str]:
    """What holds the socket of the client's idle connection, and the name of its attribute."""
    stream = client._http._own[0].connections._idle[0]._stream
    return (stream._inner, "_sock") if hasattr(stream, "_inner") else (stream._pipe, "sock")
