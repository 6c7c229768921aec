"""A request ends within its time as a whole, whatever its answer drips; sync and async."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress

import httpx
import pytest

from chat_sessions import (
    APITimeoutError,
    ConfigurationError,
    Event,
    InternalServerError,
    LlamaCloudChat,
    ProtocolError,
    RateLimitError,
    Stop,
    Text,
    TextDelta,
    Timeouts,
    TurnError,
    TurnInterrupted,
    Usage,
)
from chat_sessions.core.errors import APIConnectionError
from chat_sessions.core.events import dump_event
from tests.faces import AnyChat, do
from tests.http.test_routes import client_side, server_side
from tests.llama_cloud.test_client import SUMMARY, answer
from tests.session.streams.service import HELLO, stream_of
from tests.wire_server import Connection, Handler, Request, WireServer

STOP = Stop(usage=Usage(), is_error=False)
EVENT_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = EVENT_STREAM + b"Transfer-Encoding: chunked\r\n\r\n"
JSON_200 = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
PAGE_200 = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"
ERROR_500 = b"HTTP/1.1 500 X\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
# Far below the deadlines here, far above what a reader needs to see each piece alone.
_PAUSE = 0.05


class Dripping:
    """Sends the start, then a piece again and again until the client has gone or the test is over.

    It ends by itself long after each deadline here, and then `was_endured`.
    """

    def __init__(self, start: bytes, piece: bytes) -> None:
        self._start, self._piece = start, piece
        self._over = threading.Event()
        self.was_endured = False

    def __call__(self, _: Request, connection: Connection) -> None:
        connection.send(self._start)
        for _number in range(100):
            if self._over.wait(_PAUSE):
                return
            connection.send(self._piece)
        self.was_endured = True
        connection.reset()

    def end(self) -> None:
        self._over.set()


Drip = Callable[[bytes, bytes], Dripping]


@pytest.fixture
def drip() -> Iterator[Drip]:
    made: list[Dripping] = []

    def make(start: bytes, piece: bytes) -> Dripping:
        made.append(Dripping(start, piece))
        return made[-1]

    yield make
    for one in made:
        one.end()
        assert not one.was_endured


@pytest.fixture(params=["sync", "async"])
def quick(request: pytest.FixtureRequest, wire: WireServer) -> Iterator[AnyChat]:
    """A client that waits for a third of a second, and tries once."""
    with waiting(wire, 0.3) as chat:
        yield chat if request.param == "sync" else chat.aio


@pytest.fixture(params=["sync", "async"])
def patient(request: pytest.FixtureRequest, wire: WireServer) -> Iterator[AnyChat]:
    """A client that waits long enough for what comes at once, on a busy machine too, and tries once."""
    with waiting(wire, 1.5) as chat:
        yield chat if request.param == "sync" else chat.aio


def waiting(wire: WireServer, seconds: float) -> LlamaCloudChat:
    timeouts = Timeouts(first_event=seconds, idle=seconds, recovery=0)
    return LlamaCloudChat(api_key="key-1", base_url=wire.url, timeouts=timeouts, max_retries=0)


async def ask(chat: AnyChat) -> str:
    turn = await do(chat.session("ses-1", index_ids=["i"]).ask("q"))
    return str(turn.text)


@pytest.mark.parametrize(
    ("start", "piece"),
    [(EVENT_STREAM, b"X-More: 1\r\n"), (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n")],
    ids=["header lines", "early hints"],
)
async def test_a_turn_whose_answer_never_gets_past_its_headers_is_overdue(
    quick: AnyChat, wire: WireServer, drip: Drip, start: bytes, piece: bytes
) -> None:
    wire.on("POST", "/messages/stream", drip(start, piece))
    with pytest.raises(TurnError, match=r"no event within 0\.3 s of sending the prompt"):
        await ask(quick)
    assert len(wire.posts()) == 1


async def test_a_page_that_drips_instead_of_a_stream_is_quoted_as_far_as_it_came(
    patient: AnyChat, wire: WireServer, drip: Drip
) -> None:
    wire.on("POST", "/messages/stream", drip(PAGE_200 + b"1\r\nx\r\n", b"1\r\nx\r\n"))
    with pytest.raises(ProtocolError, match=r"text/html instead of an event stream.*'x+'"):
        await ask(patient)


async def test_an_error_whose_body_drips_is_told_with_what_came_of_it(
    patient: AnyChat, wire: WireServer, drip: Drip
) -> None:
    wire.on("POST", "/messages/stream", drip(ERROR_500 + b"1\r\nx\r\n", b"1\r\nx\r\n"))
    with pytest.raises(InternalServerError, match=r"the service failed; .* \(x+\)"):
        await ask(patient)
    wire.on("GET", "/summary", drip(ERROR_500 + b"1\r\nx\r\n", b"1\r\nx\r\n"))
    with pytest.raises(InternalServerError, match=r"the service failed; .* \(x+\)"):
        await do(patient.get_summary("ses-1"))


@pytest.mark.parametrize(
    ("start", "piece"), [(b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n"), (JSON_200, b"1\r\n \r\n")], ids=["headers", "body"]
)
async def test_a_plain_request_whose_answer_drips_is_a_timeout(
    patient: AnyChat, wire: WireServer, drip: Drip, start: bytes, piece: bytes
) -> None:
    wire.on("GET", "/summary", answer(200, SUMMARY), drip(start, piece))
    # The second request is on the first one's connection.
    await do(patient.get_summary("ses-1"))
    with pytest.raises(APITimeoutError, match="did not answer in time"):
        await do(patient.get_summary("ses-1"))
    await do(patient.close())


async def test_a_connection_that_a_turn_has_used_is_bounded_again_afterwards(
    patient: AnyChat, wire: WireServer, drip: Drip
) -> None:
    ports: list[int] = []

    def stream(_: Request, connection: Connection) -> None:
        ports.append(connection.client_port)
        connection.start_stream()
        connection.events(Text(content="ok"), STOP)
        connection.end_stream()

    dripping = drip(b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n")

    def summary(request: Request, connection: Connection) -> None:
        ports.append(connection.client_port)
        dripping(request, connection)

    wire.on("POST", "/messages/stream", stream)
    wire.on("GET", "/summary", summary)
    assert await ask(patient) == "ok"
    with pytest.raises(APITimeoutError):
        await do(patient.get_summary("ses-1"))
    assert ports[0] == ports[1]
    await do(patient.close())


async def test_the_look_up_of_a_broken_turn_ends_with_its_budget(wire: WireServer, drip: Drip) -> None:
    def cut(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.reset()

    wire.on("POST", "/messages/stream", cut)
    before = {"session_id": "ses-1", "last_updated_at": "2026-04-22T12:34:41", "events": []}
    wire.on("GET", "/chat/ses-1", lambda _, c: c.respond(200, before), drip(JSON_200, b"1\r\n \r\n"))
    with LlamaCloudChat(api_key="key-1", base_url=wire.url, timeouts=Timeouts(recovery=0.3)) as chat:
        for face in (chat, chat.aio):
            with pytest.raises(TurnError, match="could not be read"):
                await ask(face)


async def test_of_an_errors_body_the_beginning_is_read_and_no_more(patient: AnyChat, wire: WireServer) -> None:
    sent = 0

    def endless(_: Request, connection: Connection) -> None:
        nonlocal sent
        connection.send(ERROR_500)
        while True:
            connection.chunk(b"x" * 65536)
            sent += 65536

    wire.on("GET", "/summary", endless)
    with pytest.raises(InternalServerError):
        await do(patient.get_summary("ses-1"))
    # What the sockets' own buffers take is beyond the limit, and not without end.
    assert sent < 64 * 1024 * 1024


@pytest.mark.parametrize("wait", ["5", ""])
@pytest.mark.parametrize("face", ["sync", "async"])
async def test_a_refused_turn_is_not_sent_again_when_its_time_would_be_over(
    wire: WireServer, wait: str, face: str
) -> None:
    wire.on("POST", "/messages/stream", answer(429, {"detail": "later"}, retry_after=wait))
    timeouts = Timeouts(total=2)
    with (
        LlamaCloudChat(api_key="key-1", base_url=wire.url, timeouts=timeouts, max_retries=50) as chat,
        pytest.raises(RateLimitError),
    ):
        await ask(chat if face == "sync" else chat.aio)
    assert len(wire.posts()) < (2 if wait else 10)


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("face", ["sync", "async"])
async def test_a_refused_turn_is_sent_again_while_there_is_time(wire: WireServer, face: str) -> None:
    def stream(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(Text(content="ok"), STOP)
        connection.end_stream()

    wire.on("POST", "/messages/stream", answer(429), stream)
    with LlamaCloudChat(api_key="key-1", base_url=wire.url, timeouts=Timeouts(total=30)) as chat:
        assert await ask(chat if face == "sync" else chat.aio) == "ok"


async def test_without_a_deadline_a_plain_request_has_all_the_time(wire: WireServer) -> None:
    wire.on("GET", "/summary", answer(200, SUMMARY))
    with LlamaCloudChat(api_key="k", base_url=wire.url, timeouts=Timeouts(connect=None, first_event=None)) as chat:
        assert chat.get_summary("ses-1").session_id == "ses-1"
        assert (await chat.aio.get_summary("ses-1")).session_id == "ses-1"


class _Endless(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A transport with nothing to bound: its answer goes on and on."""

    def handle_request(self, _: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=_Pieces())

    async def handle_async_request(self, _: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=_Pieces())


class _Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield b" "

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b" "


async def test_without_a_socket_to_bound_the_deadline_is_noticed_at_the_next_piece() -> None:
    endless = _Endless()
    with httpx.Client(transport=endless) as mine:
        async with httpx.AsyncClient(transport=endless) as twin:
            chat = LlamaCloudChat(
                api_key="k",
                base_url="http://service.test",
                http_client=mine,
                async_http_client=twin,
                timeouts=Timeouts(first_event=0.05),
                max_retries=0,
            )
            for face in (chat, chat.aio):
                with pytest.raises(APITimeoutError, match="did not answer in time"):
                    await do(face.get_summary("ses-1"))


async def test_a_pool_of_the_users_own_that_is_full_is_named_as_what_it_is(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", _silent)
    timeouts = Timeouts(connect=0.05, recovery=0)
    with (
        httpx.Client(limits=httpx.Limits(max_connections=1)) as mine,
        LlamaCloudChat(api_key="k", base_url=wire.url, http_client=mine, timeouts=timeouts, max_retries=0) as chat,
        chat.session("ses-1", index_ids=["i"]).stream("q"),
        pytest.raises(APITimeoutError, match=r"http_client's pool.*max_connections"),
    ):
        chat.get_summary("ses-1")


def _silent(_: Request, connection: Connection) -> None:
    connection.start_stream()
    connection.wait_until_closed()


def test_more_turns_than_a_usual_pool_holds_run_at_once(sync_chat: LlamaCloudChat, wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", _silent)
    streams = [sync_chat.session(f"ses-{n}", index_ids=["i"]).stream("q").open() for n in range(101)]
    assert len(wire.posts()) == 101
    for stream in streams:
        stream.close()


def test_an_async_client_of_the_users_own_serves_one_event_loop_and_says_so_before_it_sends_more(
    wire: WireServer,
) -> None:
    wire.on("POST", "/messages/stream", stream_of(*HELLO))
    mine = httpx.AsyncClient(trust_env=False)
    session = LlamaCloudChat(api_key="k", base_url=wire.url, async_http_client=mine).aio.session(
        "ses-1", index_ids=["i"]
    )
    with asyncio.Runner() as first:
        assert first.run(session.ask("one")).text == "Hello"
        with pytest.raises(ConfigurationError, match="in that one only: pass a function"), asyncio.Runner() as second:
            second.run(session.ask("two"))
        first.run(mine.aclose())
    assert len(wire.posts()) == 1


async def test_a_closed_client_of_the_users_own_is_named(wire: WireServer) -> None:
    with httpx.Client() as mine:
        pass
    async with httpx.AsyncClient() as twin:
        pass
    chat = LlamaCloudChat(api_key="k", base_url=wire.url, http_client=mine, async_http_client=twin)
    for face in (chat, chat.aio):
        with pytest.raises(ConfigurationError, match="http_client that this client was given is closed"):
            await do(face.get_summary("ses-1"))


@pytest.mark.parametrize(
    ("told", "is_whole"), [((TextDelta(content="Hel"),), False), ((Text(content="Hello"), STOP), True)]
)
async def test_a_client_of_the_users_own_that_is_closed_in_mid_turn_costs_only_what_had_not_come(
    wire: WireServer, told: tuple[Event, ...], is_whole: bool
) -> None:
    def begin(_: Request, connection: Connection) -> None:
        connection.start_stream()
        # As one piece, so that all of it is there at the first event.
        connection.chunk(b"".join(b"data: %s\n\n" % json.dumps(dump_event(event)).encode() for event in told))
        connection.wait_until_closed()

    wire.on("POST", "/messages/stream", begin)
    mine, twin = httpx.Client(), httpx.AsyncClient()
    made = LlamaCloudChat(api_key="k", base_url=wire.url, http_client=mine, async_http_client=twin)
    for chat, close in ((made, mine.close), (made.aio, twin.aclose)):
        stream = chat.stream("ses-1", "q", index_ids=["i"], baseline=False)
        await do(stream.open())
        assert isinstance(await do(stream.next_update()), TextDelta)
        await do(close())
        if is_whole:
            assert (await do(stream.result())).text == "Hello"
        else:
            with pytest.raises(TurnInterrupted, match=r"the prompt landed.*given is closed") as caught:
                await do(stream.result())
            assert caught.value.turn.text == "Hel"


@pytest.mark.usefixtures("no_waiting")
async def test_an_answer_that_cannot_be_decoded_is_read_again(chat: AnyChat, wire: WireServer) -> None:
    bad: Handler = answer(200, b"no gzip", content_encoding="gzip", content_type="application/json")
    wire.on("GET", "/summary", bad, answer(200, SUMMARY))
    assert (await do(chat.get_summary("ses-1"))).session_id == "ses-1"
    wire.on("GET", "/summary", bad)
    with pytest.raises(APIConnectionError, match="does not match its Content-Encoding"):
        await do(chat.get_summary("ses-1"))


async def test_a_size_of_a_chunk_that_drips_is_no_event(quick: AnyChat, wire: WireServer, drip: Drip) -> None:
    wire.on("POST", "/messages/stream", drip(CHUNKED + b"5;", b"x"))
    with pytest.raises(TurnError, match=r"timeouts.first_event"):
        await ask(quick)


async def test_a_part_of_a_tls_record_that_drips_is_no_event() -> None:
    def handle(_: Request, connection: Connection) -> None:
        connection.send(CHUNKED)
        with connection.below() as raw, suppress(OSError):
            # A record of 16 KiB.
            raw.sendall(b"\x17\x03\x03\x40\x00")
            for _number in range(100):
                raw.sendall(b"x")
                threading.Event().wait(_PAUSE)
        connection.reset()

    timeouts = Timeouts(first_event=0.3, recovery=0)
    with (
        WireServer(tls=server_side()) as wire,
        LlamaCloudChat(api_key="k", base_url=wire.url, timeouts=timeouts, verify=client_side()) as chat,
    ):
        wire.on("POST", "/messages/stream", handle)
        for face in (chat, chat.aio):
            with pytest.raises(TurnError, match=r"timeouts.first_event"):
                await ask(face)


async def test_what_came_before_a_chunk_that_is_longer_than_it_says_is_given_out(
    quick: AnyChat, wire: WireServer
) -> None:
    event = b'data: {"type": "text_delta", "content": "Hel"}\n\n'

    def handle(_: Request, connection: Connection) -> None:
        # In one read, as if a proxy had joined them.
        connection.send(CHUNKED + b"%x\r\n%b\r\n" % (len(event), event) + b"3\r\nmore than that\r\n")
        connection.wait_until_closed()

    wire.on("POST", "/messages/stream", handle)
    with pytest.raises(TurnError, match="a chunk is longer than it says") as caught:
        await ask(quick)
    assert caught.value.turn.text == "Hel"


async def test_any_success_that_is_an_event_stream_is_one(chat: AnyChat, wire: WireServer) -> None:
    def created(_: Request, connection: Connection) -> None:
        connection.send(EVENT_STREAM.replace(b"200 OK", b"201 Created") + b"Transfer-Encoding: chunked\r\n\r\n")
        connection.events(Text(content="ok"), STOP)
        connection.end_stream()

    wire.on("POST", "/messages/stream", created)
    assert await ask(chat) == "ok"
