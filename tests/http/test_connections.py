"""Which connection a request takes, and that none is left open."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from contextvars import copy_context

import httpx
import pytest

from chat_sessions import AsyncLlamaCloudChat, LlamaCloudChat, Stop, Text, TextDelta, Usage
from chat_sessions.http.connection import asyncio_socket
from chat_sessions.http.connection.exchange import Exchange, remaining
from chat_sessions.http.connection.route import Route
from chat_sessions.http.connection.transport import Transport
from chat_sessions.session import AsyncTurnStream, TurnStream
from tests.faces import AnyChat, do
from tests.llama_cloud.test_client import SUMMARY
from tests.wire_server import Connection, Request, WireServer


class Ports:
    """Answers each request for a summary, and notes which connection it came on."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, request: Request, connection: Connection) -> None:
        self.seen.append(connection.client_port)
        connection.respond(200, SUMMARY)


@pytest.fixture
def ports(wire: WireServer) -> Ports:
    ports = Ports()
    wire.on("GET", "/summary", ports)
    return ports


async def test_one_request_after_another_takes_the_same_connection(chat: AnyChat, ports: Ports) -> None:
    for _ in range(3):
        await do(chat.get_summary("ses-1"))
    assert len(set(ports.seen)) == 1
    await do(chat.close())


def test_what_is_in_force_ends_in_any_context() -> None:
    exchange = Exchange("GET", answer=remaining(1), connect=1, is_own=True)

    def request() -> Generator[None]:
        with exchange.in_force():
            yield

    # As a coroutine that is dropped with its event loop: it ends where the garbage collector runs.
    dropped = request()
    copy_context().run(next, dropped)
    dropped.close()


async def test_a_cookie_that_the_service_sets_comes_back_with_the_next_requests(
    chat: AnyChat, wire: WireServer
) -> None:
    seen: list[str | None] = []

    def answer(request: Request, connection: Connection) -> None:
        seen.append(request.headers.get("cookie"))
        connection.respond(200, SUMMARY, headers={} if seen[-1] else {"Set-Cookie": "server=a; Path=/"})

    wire.on("GET", "/summary", answer)
    for _ in range(3):
        await do(chat.get_summary("ses-1"))
    assert seen == [None, "server=a", "server=a"]
    await do(chat.close())


async def test_a_connection_that_the_service_closed_meanwhile_is_not_used_again(
    chat: AnyChat, wire: WireServer
) -> None:
    seen: list[int] = []

    def leave(_: Request, connection: Connection) -> None:
        seen.append(connection.client_port)
        connection.respond(200, SUMMARY)
        connection.reset()

    wire.on("GET", "/summary", leave)
    for _ in range(3):
        await do(chat.get_summary("ses-1"))
    assert len(set(seen)) == 3


STREAM = b'data: {"type": "text", "content": "WRONG"}\n\ndata: {"type": "stop", "usage": {}, "is_error": false}\n\n'
SECOND = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(STREAM) + STREAM
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n" + SECOND,
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\njunk",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" + SECOND,
        CHUNKED + b"2\r\n{}\r\n0\r\n\r\n" + SECOND,
        CHUNKED + b"2\r\n{}\r\n0\r\nSome: trailer\r\n\r\n" + SECOND,
        CHUNKED + b"2\r\n{}\r\n0\r\n\r\n" + CHUNKED + b"0\r\n\r\n",
    ],
)
async def test_what_comes_behind_an_answer_is_not_taken_for_the_next_one(
    chat: AnyChat, wire: WireServer, answer: bytes
) -> None:
    def stream(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(Text(content="right"), Stop(usage=Usage(), is_error=False))
        connection.end_stream()

    wire.on("DELETE", "/ses-1", lambda _, connection: connection.send(answer))
    wire.on("POST", "/messages/stream", stream)
    await do(chat.delete("ses-1"))
    assert (await do(chat.session("ses-2", index_ids=["i"], baseline=False).ask("q"))).text == "right"
    assert len(wire.posts()) == 1


async def test_a_stream_with_something_behind_it_does_not_answer_the_next_turn(chat: AnyChat, wire: WireServer) -> None:
    def stream(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(Text(content="right"))
        stop = b'data: {"type": "stop", "usage": {}, "is_error": false}\n\n'
        connection.send(f"{len(stop):x}\r\n".encode() + stop + b"\r\n0\r\n\r\n" + SECOND)

    wire.on("POST", "/messages/stream", stream)
    session = chat.session("ses-1", index_ids=["i"], baseline=False)
    assert [(await do(session.ask("q"))).text for _ in range(2)] == ["right", "right"]


@pytest.mark.parametrize(
    "pieces",
    [
        [b"2\r\n{}\r\n0\r\n\r\n"],
        [b"2\r\n{", b"}\r\n0", b"\r\n", b"\r\n"],
        [b"1\r\n{\r\n1;a=b\r\n}\r\n00\r\nSome: trailer\r\n", b"\r\n"],
    ],
)
async def test_a_chunked_answer_read_to_its_end_gives_its_connection_to_the_next(
    chat: AnyChat, wire: WireServer, pieces: list[bytes]
) -> None:
    seen: list[int] = []

    def respond(_: Request, connection: Connection) -> None:
        seen.append(connection.client_port)
        for piece in (CHUNKED, *pieces):
            connection.send(piece)

    wire.on("DELETE", "/ses-1", respond)
    for _ in range(3):
        await do(chat.delete("ses-1"))
    assert len(set(seen)) == 1
    await do(chat.close())


async def test_of_two_addresses_that_connect_at_once_one_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []
    both = asyncio.Event()

    async def resolve(*_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))] * 2

    async def connect_together(family: int, kind: int, *_: object) -> socket.socket:
        made.append(sock := socket.socket(family, kind))
        try:
            if len(made) == 2:
                both.set()
            await both.wait()
        except BaseException:
            sock.close()
            raise
        return sock

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    monkeypatch.setattr(asyncio_socket, "_NEXT_ADDRESS", 0)
    monkeypatch.setattr(asyncio_socket, "_try", connect_together)
    connected = await asyncio_socket.connect("svc.test", 1, None)
    await asyncio.sleep(0)
    assert [sock.fileno() == -1 for sock in made] == [sock is not connected for sock in made]
    connected.close()


async def test_a_turn_read_to_its_end_gives_its_connection_to_the_next(chat: AnyChat, wire: WireServer) -> None:
    seen: list[int] = []

    def stream(_: Request, connection: Connection) -> None:
        seen.append(connection.client_port)
        connection.start_stream()
        connection.events(Text(content="ok"), Stop(usage=Usage(), is_error=False))
        connection.end_stream()

    wire.on("POST", "/messages/stream", stream)
    session = chat.session("ses-1", index_ids=["i"])
    for _ in range(3):
        await do(session.ask("q"))
    assert len(set(seen)) == 1
    await do(chat.close())


def test_a_loop_that_has_ended_leaves_its_connection_to_be_closed_by_the_next_request(
    wire: WireServer, ports: Ports
) -> None:
    chat = AsyncLlamaCloudChat(api_key="k", base_url=wire.url)
    for _ in range(3):
        asyncio.run(chat.get_summary("ses-1"))
    assert len(set(ports.seen)) == 3
    asyncio.run(chat.close())
    assert wire.was_left()


def test_loops_in_threads_have_connections_of_their_own(
    wire: WireServer, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long the threads take to meet.
    monkeypatch.setattr("chat_sessions.http.connection.async_transport._IDLE_FOR", None)
    chat = AsyncLlamaCloudChat(api_key="k", base_url=wire.url)
    meeting = threading.Barrier(4)

    async def often() -> None:
        await chat.get_summary("ses-1")
        await asyncio.to_thread(meeting.wait, 30)
        for _ in range(50):
            await chat.get_summary("ses-1")

    threads = [threading.Thread(target=asyncio.run, args=(often(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ports.seen) == 4 * 51
    assert len(set(ports.seen)) == 4
    asyncio.run(chat.close())
    assert wire.was_left()


def ask_in_threads(get_summary: Callable[[str], object], threads: int) -> None:
    asking = [threading.Thread(target=get_summary, args=("ses-1",)) for _ in range(threads)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()


def test_threads_whose_first_requests_meet_share_their_connections(
    wire: WireServer, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = threading.Barrier(3)

    class Meets(Transport):
        def __init__(self, way: Route) -> None:
            super().__init__(way)
            meeting.wait(30)

    monkeypatch.setattr("chat_sessions.http.client.Transport", Meets)
    chat = LlamaCloudChat(api_key="k", base_url=wire.url)
    ask_in_threads(chat.get_summary, 3)
    chat.get_summary("ses-1")
    assert len(set(ports.seen)) <= 3
    chat.close()
    assert wire.was_left()


@pytest.mark.usefixtures("ports")
def test_of_clients_that_a_function_made_for_threads_at_once_one_is_used_and_the_others_are_closed(
    wire: WireServer,
) -> None:
    meeting = threading.Barrier(3)
    made: list[httpx.Client] = []

    def make() -> httpx.Client:
        made.append(client := httpx.Client(trust_env=False))
        meeting.wait(30)
        return client

    chat = LlamaCloudChat(api_key="k", base_url=wire.url, http_client=make)
    ask_in_threads(chat.get_summary, 3)
    (used,) = (client for client in made if not client.is_closed)
    assert len(made) == 3
    used.close()
    assert wire.was_left()


@pytest.mark.usefixtures("ports")
async def test_a_client_that_is_dropped_has_its_connections_closed(wire: WireServer) -> None:
    sync, twin = LlamaCloudChat(api_key="k", base_url=wire.url), AsyncLlamaCloudChat(api_key="k", base_url=wire.url)
    sync.get_summary("ses-1")
    await twin.get_summary("ses-1")
    del sync, twin
    gc.collect()
    assert await asyncio.to_thread(wire.was_left)


class _Knot:
    """Refers to itself, as an error does whose traceback holds it: only the garbage collector frees what it has."""

    def __init__(self, stream: TurnStream | AsyncTurnStream) -> None:
        self.stream = stream
        self.knot = self


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """What finalizers raise, warnings among it, while the collector takes the oldest things first."""
    found: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", lambda error: found.append(error.exc_value))
    gc.collect()
    # A collection changes the order. Until the next one, a kept connection is older than its turn.
    gc.disable()
    yield found
    gc.enable()


def _hello(_: Request, connection: Connection) -> None:
    connection.start_stream()
    connection.events(TextDelta(content="Hello"))
    connection.wait_until_closed()


@pytest.mark.usefixtures("ports")
def test_the_socket_of_a_turn_that_the_garbage_collector_finds_is_closed_by_the_turn(
    wire: WireServer, unseen: list[object]
) -> None:
    wire.on("POST", "/messages/stream", _hello)
    with LlamaCloudChat(api_key="k", base_url=wire.url) as chat:
        chat.get_summary("ses-1")
        knot = _Knot(chat.stream("ses-1", "q", index_ids=["i"]).open())
        del knot
        gc.collect()
        assert wire.was_left()
    assert unseen == []


@pytest.mark.usefixtures("ports")
def test_the_socket_of_a_turn_whose_event_loop_has_ended_is_closed_by_the_turn(
    wire: WireServer, unseen: list[object]
) -> None:
    wire.on("POST", "/messages/stream", _hello)
    chat = AsyncLlamaCloudChat(api_key="k", base_url=wire.url)

    async def leave() -> _Knot:
        await chat.get_summary("ses-1")
        return _Knot(await chat.stream("ses-1", "q", index_ids=["i"]).open())

    knot = asyncio.run(leave())
    del knot
    gc.collect()
    assert wire.was_left()
    assert unseen == []


@pytest.mark.usefixtures("ports")
def test_a_client_whose_loop_was_closed_by_hand_lets_go_of_it(wire: WireServer) -> None:
    chat = AsyncLlamaCloudChat(api_key="k", base_url=wire.url)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(chat.get_summary("ses-1"))
    loop.close()
    del chat
    gc.collect()
    assert wire.was_left()


@pytest.mark.usefixtures("ports")
async def test_a_closed_client_makes_new_connections(chat: AnyChat, wire: WireServer) -> None:
    for _ in range(2):
        await do(chat.get_summary("ses-1"))
        await do(chat.close())
        assert await asyncio.to_thread(wire.was_left)


async def test_of_many_idle_connections_twenty_are_kept(wire: WireServer) -> None:
    everybody = threading.Barrier(30)

    def meet(request: Request, connection: Connection) -> None:
        everybody.wait(30)
        connection.respond(200, SUMMARY)

    wire.on("GET", "/summary", meet)
    async with AsyncLlamaCloudChat(api_key="k", base_url=wire.url) as chat:
        await asyncio.gather(*(chat.get_summary("ses-1") for _ in range(30)))
        for _ in range(10):
            assert await asyncio.to_thread(wire.ended.acquire, timeout=30)
        assert not wire.ended.acquire(blocking=False)
