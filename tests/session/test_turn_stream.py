"""A turn is streamed as it comes, ends with its stop, and is looked up when its stream breaks."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import pickle
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from chat_sessions import (
    APIConnectionError,
    AsyncTurnStream,
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    Event,
    InternalServerError,
    LlamaCloudChat,
    ProtocolError,
    RateLimitError,
    Stop,
    Text,
    TextDelta,
    Timeouts,
    ToolCall,
    Turn,
    TurnFailed,
    TurnInterrupted,
    TurnOutcomeUnknown,
    TurnStalled,
    TurnStream,
    UnprocessableEntityError,
    Usage,
    UserInput,
)
from chat_sessions.core.events import dump_event
from chat_sessions.http.event_response import EventResponse
from chat_sessions.session import recovery
from chat_sessions.session.backend import TurnRequest
from chat_sessions.session.deadlines import EventClock
from chat_sessions.session.stored.turn_count import TurnCount
from chat_sessions.session.turn_state import PreparedTurn
from tests.faces import AnyChat, AnySession, AnyStream, do, entered, every, some
from tests.session.test_turn_queue import until_waiting
from tests.wire_server import Connection, Handler, Request, WireServer

STOP = Stop(usage=Usage(input_tokens=3), is_error=False)
HELLO: tuple[Event, ...] = (TextDelta(content="Hel"), TextDelta(content="lo"), Text(content="Hello"), STOP)
SUMMARY = {"session_id": "ses-1", "last_updated_at": "2026-04-22T12:34:41", "index_ids": ["idx-own"]}


def stream_of(*events: Event, then: Callable[[Connection], None] = Connection.end_stream) -> Handler:
    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(*events)
        then(connection)

    return handle


def history_of(*events: Event) -> Handler:
    def handle(_: Request, connection: Connection) -> None:
        connection.respond(200, {**SUMMARY, "events": [dump_event(event) for event in events]})

    return handle


def refuse(status: int, **headers: str) -> Handler:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _, connection: connection.respond(status, {"detail": "why"}, headers=named)


def break_off(_: Request, connection: Connection) -> None:
    connection.reset()


async def gather_into(seen: list[Event], stream: AnyStream) -> None:
    async for event in some(stream):
        seen.append(event)


@pytest.fixture(autouse=True)
def service(wire: WireServer, monkeypatch: pytest.MonkeyPatch) -> WireServer:
    """A service that creates ses-1, answers each turn with Hello, and looks-up that need no patience."""
    monkeypatch.setattr(recovery, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(recovery, "_LONGEST_WAIT", 0.002)
    monkeypatch.setattr(recovery, "_SETTLING", 0.01)
    wire.on("POST", "/api/v1/chat", lambda _, connection: connection.respond(201, SUMMARY))
    wire.on("GET", "/ses-1/summary", lambda _, connection: connection.respond(200, SUMMARY))
    wire.on("GET", "/ses-1", history_of())
    wire.on("POST", "/messages/stream", stream_of(*HELLO))
    return wire


@contextmanager
def client(wire: WireServer, **timeouts: float | None) -> Iterator[LlamaCloudChat]:
    with LlamaCloudChat(api_key="k", base_url=wire.url, timeouts=Timeouts(**timeouts)) as made:
        yield made


def both(chat: LlamaCloudChat) -> tuple[AnyChat, AnyChat]:
    return chat, chat.aio


async def test_events_come_as_they_are_sent_and_end_with_the_stop(chat: AnyChat, wire: WireServer) -> None:
    async with entered(chat.stream("ses-1", "q", index_ids=["idx-1"])) as stream:
        assert await every(stream) == list(HELLO)
        assert stream.turn.text == "Hello"
    (post,) = wire.posts()
    assert post.json == {"index_ids": ["idx-1"], "prompt": "q"}
    assert post.headers["accept"] == "text/event-stream"
    assert post.headers["accept-encoding"] == "identity"


async def test_the_first_event_is_here_before_the_second_is_sent(chat: AnyChat, wire: WireServer) -> None:
    seen = threading.Event()

    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(HELLO[0])
        assert seen.wait(10)
        connection.events(*HELLO[1:])
        connection.end_stream()

    wire.on("POST", "/messages/stream", handle)
    async with entered(chat.stream("ses-1", "q", index_ids=["idx-1"])) as stream:
        async for event in some(stream):
            assert event == HELLO[0] or seen.is_set()
            seen.set()
    assert stream.turn.is_complete


@pytest.mark.parametrize(
    "first", [refuse(500), stream_of(TextDelta(content="a"), then=lambda c: c.chunk(b"data: {\n\n"))]
)
async def test_the_causes_of_an_error_come_to_an_end(wire: WireServer, first: Handler) -> None:
    wire.on("POST", "/messages/stream", first)
    with client(wire, recovery=0.3) as chat:
        for one in both(chat):
            with pytest.raises((InternalServerError, ProtocolError)) as caught:
                await do(one.stream("ses-1", "q", index_ids=["idx-1"]).result())
            seen: list[BaseException] = []
            ahead: list[BaseException | None] = [caught.value]
            while ahead:
                if (error := ahead.pop()) is not None:
                    assert error not in seen
                    seen.append(error)
                    ahead += [error.__cause__, None if error.__context__ is error.__cause__ else error.__context__]


async def test_text_deltas_are_the_answer_once_and_result_is_the_turn(chat: AnyChat) -> None:
    async with entered(chat.stream("ses-1", "q", index_ids=["idx-1"])) as stream:
        assert await every(stream.text_deltas()) == ["Hel", "lo"]
        turn = await do(stream.result())
    assert (turn.prompt, turn.text, turn.usage) == ("q", "Hello", Usage(input_tokens=3))


async def test_a_stream_can_be_iterated_without_a_with_block(chat: AnyChat) -> None:
    stream = chat.stream("ses-1", "q", index_ids=["idx-1"])
    assert stream.session_id is None
    assert await every(stream) == list(HELLO)
    assert stream.is_closed
    assert stream.session_id == "ses-1"


async def test_nothing_is_sent_before_the_stream_is_entered_and_only_once_then(chat: AnyChat, wire: WireServer) -> None:
    stream = chat.stream("ses-1", "q", index_ids=["idx-1"])
    assert wire.requests == []
    await do(stream.open())
    await do(stream.open())
    async with entered(stream):
        assert len(wire.posts()) == 1


async def test_what_comes_after_the_stop_is_not_read(chat: AnyChat, wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", stream_of(*HELLO, TextDelta(content="more"), then=Connection.wait_until_closed))
    async with entered(chat.stream("ses-1", "q", index_ids=["idx-1"])) as stream:
        assert (await do(stream.result())).text == "Hello"


async def test_a_stream_that_is_compressed_though_nobody_asked_for_it_is_read(chat: AnyChat, wire: WireServer) -> None:
    body = b"".join(b"data: " + json.dumps(dump_event(event)).encode() + b"\n\n" for event in HELLO)
    headers = {"Content-Type": "text/event-stream", "Content-Encoding": "gzip"}
    wire.on("POST", "/messages/stream", lambda _, c: c.respond(200, gzip.compress(body), headers=headers))
    assert (await do(chat.stream("ses-1", "q", index_ids=["idx-1"]).result())).text == "Hello"


async def test_a_server_that_keeps_the_stream_open_after_the_stop_is_not_waited_for(
    chat: AnyChat, wire: WireServer
) -> None:
    wire.on("POST", "/messages/stream", stream_of(*HELLO, then=Connection.wait_until_closed))
    assert (await do(chat.stream("ses-1", "q", index_ids=["idx-1"]).result())).text == "Hello"


async def test_the_connection_is_used_again_after_a_turn(chat: AnyChat, wire: WireServer) -> None:
    ports: list[int] = []

    def handle(request: Request, connection: Connection) -> None:
        ports.append(connection.client_port)
        stream_of(*HELLO)(request, connection)

    wire.on("POST", "/messages/stream", handle)
    for _ in range(3):
        async with entered(chat.stream("ses-1", "q", index_ids=["idx-1"])) as stream:
            await do(stream.result())
    assert len(set(ports)) == 1


@pytest.mark.parametrize("way", ["break", "error"])
async def test_leaving_the_block_early_closes_the_socket(chat: AnyChat, wire: WireServer, way: str) -> None:
    closed = threading.Event()

    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(HELLO[0])
        connection.wait_until_closed()
        closed.set()

    wire.on("POST", "/messages/stream", handle)
    try:
        async with entered(chat.stream("ses-1", "q", index_ids=["idx-1"])) as stream:
            async for _ in some(stream):
                if way == "error":
                    raise KeyError(way)
                break
    except KeyError:
        pass
    assert stream.is_closed
    assert closed.wait(10)
    assert await every(stream) == []
    with pytest.raises(ConfigurationError, match="closed before its turn ended"):
        await do(stream.result())


async def test_cancelling_the_task_that_reads_closes_the_socket(sync_chat: LlamaCloudChat, wire: WireServer) -> None:
    closed = threading.Event()

    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(HELLO[0])
        connection.wait_until_closed()
        closed.set()

    wire.on("POST", "/messages/stream", handle)
    reading = asyncio.Event()

    async def read() -> None:
        async with sync_chat.aio.stream("ses-1", "q", index_ids=["idx-1"]) as stream:
            async for _ in stream:
                reading.set()

    task = asyncio.create_task(read())
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(closed.wait, 10)
    assert (await sync_chat.aio.get_summary("ses-1")).session_id == "ses-1"


@pytest.mark.parametrize(
    ("status", "error"), [(401, AuthenticationError), (409, ConflictError), (422, UnprocessableEntityError)]
)
async def test_a_refused_turn_raises_when_the_stream_is_entered_and_is_posted_once(
    chat: AnyChat, wire: WireServer, status: int, error: type[Exception]
) -> None:
    wire.on("POST", "/messages/stream", refuse(status))
    stream = chat.stream("ses-1", "q", index_ids=["idx-1"])
    with pytest.raises(error, match="why"):
        await do(stream.open())
    assert stream.is_closed
    with pytest.raises(ConfigurationError, match="no result"):
        await do(stream.result())
    assert len(wire.posts()) == 1


async def test_an_error_page_of_any_size_is_not_read_whole(chat: AnyChat, wire: WireServer) -> None:
    page = b"<html>" + b"x" * 200_000
    wire.on("POST", "/messages/stream", lambda _, c: c.respond(403, page, headers={"Content-Type": "text/html"}))
    with pytest.raises(Exception, match="answered 403") as caught:
        await do(chat.stream("ses-1", "q", index_ids=["idx-1"]).open())
    assert len(str(caught.value)) < 1000


async def test_an_error_whose_body_breaks_off_is_still_that_error(chat: AnyChat, wire: WireServer) -> None:
    def handle(_: Request, connection: Connection) -> None:
        connection.send(b"HTTP/1.1 403 X\r\nContent-Length: 1000\r\n\r\n{")
        connection.reset()

    wire.on("POST", "/messages/stream", handle)
    with pytest.raises(Exception, match="answered 403"):
        await do(chat.stream("ses-1", "q", index_ids=["idx-1"]).open())


@pytest.mark.parametrize("content_type", ["text/html", "application/json", ""])
async def test_an_answer_that_is_no_event_stream_is_an_error_that_quotes_it(
    chat: AnyChat, wire: WireServer, content_type: str
) -> None:
    headers = {"Content-Type": content_type}
    wire.on("POST", "/messages/stream", lambda _, c: c.respond(200, b"<html>Sign in", headers=headers))
    with pytest.raises(ProtocolError, match=f"{content_type or 'no content type'} instead of an event stream.*Sign in"):
        await do(chat.stream("ses-1", "q", index_ids=["idx-1"]).open())


async def test_a_stop_with_an_error_is_given_and_then_raised_with_the_turn(chat: AnyChat, wire: WireServer) -> None:
    failed = Stop(usage=Usage(), is_error=True, error="quota exceeded")
    wire.on("POST", "/messages/stream", stream_of(TextDelta(content="Hel"), failed))
    seen: list[Event] = []
    with pytest.raises(TurnFailed, match="ses-1: quota exceeded") as caught:
        await gather_into(seen, chat.stream("ses-1", "q", index_ids=["idx-1"]))
    assert seen == [TextDelta(content="Hel"), failed]
    assert (caught.value.turn.text, caught.value.turn.error, caught.value.session_id) == (
        "Hel",
        "quota exceeded",
        "ses-1",
    )


@pytest.mark.parametrize("budget", [0.0, 0.05])
async def test_an_event_that_cannot_be_read_is_a_protocol_error_if_the_session_shows_no_end(
    wire: WireServer, budget: float
) -> None:
    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.chunk(b"data: {nope\n\n")
        connection.wait_until_closed()

    wire.on("POST", "/messages/stream", handle)
    with client(wire, recovery=budget) as made:
        for chat in both(made):
            stream = chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False)
            with pytest.raises(ProtocolError, match="nope"):
                await every(stream)
            assert stream.is_closed


async def test_an_event_over_the_limit_is_an_error_and_not_fetched_from_the_session_instead(wire: WireServer) -> None:
    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.chunk(b"data: " + b"x" * 600)
        connection.wait_until_closed()

    wire.on("POST", "/messages/stream", handle)
    with LlamaCloudChat(api_key="k", base_url=wire.url, max_event_bytes=500) as made:
        for chat in both(made):
            with pytest.raises(ProtocolError, match="more than 500 bytes"):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))
    assert not [request for request in wire.requests if request.method == "GET"]


async def test_an_event_that_cannot_be_read_is_made_good_from_the_session(chat: AnyChat, wire: WireServer) -> None:
    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(TextDelta(content="Hel"))
        connection.chunk(b"data: {nope\n\n")
        connection.events(TextDelta(content="never read"))
        connection.wait_until_closed()

    wire.on("POST", "/messages/stream", handle)
    wire.on("GET", "/ses-1", history_of(UserInput(content="q"), Text(content="Hello"), STOP))
    shown = await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))
    assert "".join(event.content for event in shown if isinstance(event, TextDelta)) == "Hello"
    assert len(wire.posts()) == 1


def in_one_read(*events: Event | bytes) -> bytes:
    """These events as bytes that arrive together."""
    bodies = (event if isinstance(event, bytes) else json.dumps(dump_event(event)).encode() for event in events)
    return b"".join(b"event: message\ndata: " + body + b"\n\n" for body in bodies)


async def test_events_that_come_together_are_shown_up_to_the_one_that_cannot_be_read(
    chat: AnyChat, wire: WireServer
) -> None:
    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        pieces = [TextDelta(content="H"), TextDelta(content="el")]
        connection.chunk(in_one_read(*pieces, b"{nope", TextDelta(content="never read"), STOP))
        connection.wait_until_closed()

    wire.on("POST", "/messages/stream", handle)
    wire.on("GET", "/ses-1", history_of(UserInput(content="q"), Text(content="Hello"), STOP))
    shown = await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))
    assert [event.content for event in shown if isinstance(event, TextDelta)] == ["H", "el", "lo"]
    assert len(wire.posts()) == 1


async def test_thousands_of_events_that_add_nothing_cost_no_stack(chat: AnyChat, wire: WireServer) -> None:
    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.chunk(in_one_read(*[TextDelta(content="")] * 5_000, *HELLO))
        connection.wait_until_closed()

    wire.on("POST", "/messages/stream", handle)
    assert (await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False)))[-1] == STOP


async def test_a_stream_that_is_closed_gives_out_nothing_of_what_has_come(chat: AnyChat, wire: WireServer) -> None:
    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.chunk(in_one_read(*HELLO))
        connection.wait_until_closed()

    wire.on("POST", "/messages/stream", handle)
    async with entered(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False)) as stream:
        assert await do(stream.next_update()) == HELLO[0]
        await do(stream.close())
        assert stream.take() is None
        assert await do(stream.next_update()) is None
        assert stream.turn.text == "Hel"


def test_a_stream_that_is_interrupted_between_two_events_gives_out_no_more(
    sync_chat: LlamaCloudChat, wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.chunk(in_one_read(*HELLO))
        connection.wait_until_closed()

    def interrupt(self: object) -> Event | None:
        raise KeyboardInterrupt

    wire.on("POST", "/messages/stream", handle)
    with sync_chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False) as stream:
        assert next(stream) == HELLO[0]
        with monkeypatch.context() as patched:
            patched.setattr(EventResponse, "ready_event", interrupt)
            with pytest.raises(KeyboardInterrupt):
                next(stream)
        assert list(stream) == []


async def test_a_task_that_took_what_had_come_already_may_not_wait_for_the_turn(
    sync_chat: LlamaCloudChat, wire: WireServer
) -> None:
    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.chunk(in_one_read(*HELLO[:2]))
        connection.wait_until_closed()

    wire.on("POST", "/messages/stream", handle)
    stream = sync_chat.session("ses-1", index_ids=["idx-1"], baseline=False).stream("one")

    async def begins() -> None:
        stream.open()
        next(stream)

    async def goes_on() -> None:
        next(stream)
        await sync_chat.aio.session("ses-1", index_ids=["idx-1"], baseline=False).ask("two")

    await asyncio.create_task(begins())
    with pytest.raises(ConfigurationError, match="the code that reads it is the code that asks"):
        await asyncio.wait_for(goes_on(), 5)
    stream.close()


@pytest.mark.usefixtures("no_waiting")
async def test_a_turn_refused_for_now_is_posted_again_because_it_was_not_taken(chat: AnyChat, wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", refuse(429, retry_after="1"), stream_of(*HELLO))
    async with entered(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False)) as stream:
        assert (await do(stream.result())).text == "Hello"
    assert len(wire.posts()) == 2


async def test_a_turn_refused_for_long_is_left_to_the_caller(chat: AnyChat, wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", refuse(429, retry_after="3600"))
    with pytest.raises(RateLimitError):
        await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).open())
    assert len(wire.posts()) == 1


async def test_a_turn_to_a_service_that_is_not_there_was_not_sent() -> None:
    with LlamaCloudChat(api_key="k", base_url="http://127.0.0.1:1", max_retries=0) as made:
        for chat in both(made):
            with pytest.raises(APIConnectionError, match=r"cannot reach .*: nothing was sent; check base_url"):
                await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).open())


# -- a broken stream -------------------------------------------------------------------------------------------


def end_early(connection: Connection) -> None:
    connection.end_stream()


def cut(connection: Connection) -> None:
    connection.reset()


@pytest.mark.parametrize("then", [end_early, cut])
async def test_a_stream_that_ends_without_stop_is_finished_from_the_session(
    chat: AnyChat, wire: WireServer, then: Callable[[Connection], None]
) -> None:
    wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=then))
    wire.on("GET", "/ses-1", history_of(UserInput(content="q")), history_of(UserInput(content="q"), *HELLO[2:]))
    async with entered(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False)) as stream:
        assert await every(stream) == [HELLO[0], HELLO[1], HELLO[2], STOP]
    assert len(wire.posts()) == 1


async def test_what_a_running_turn_has_meanwhile_is_shown_while_it_runs(chat: AnyChat, wire: WireServer) -> None:
    call = ToolCall(call_id="1", name="t", arguments={})
    seen = threading.Event()

    def running(request: Request, connection: Connection) -> None:
        if seen.is_set():
            history_of(UserInput(content="q"), call, Text(content="Hello"), STOP)(request, connection)
        else:
            history_of(UserInput(content="q"), call)(request, connection)

    wire.on("POST", "/messages/stream", stream_of(then=cut))
    wire.on("GET", "/ses-1", running)
    got: list[Event] = []
    async for event in some(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False)):
        got.append(event)
        seen.set()
    assert got == [call, TextDelta(content="Hello"), Text(content="Hello"), STOP]


@pytest.mark.parametrize("broken", [break_off, refuse(502)])
async def test_a_turn_that_was_taken_though_its_answer_was_lost_is_read_from_the_session(
    chat: AnyChat, wire: WireServer, broken: Handler
) -> None:
    wire.on("POST", "/messages/stream", broken)
    wire.on("GET", "/ses-1", history_of(UserInput(content="q")), history_of(UserInput(content="q"), *HELLO[2:]))
    async with entered(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False)) as stream:
        assert (await do(stream.result())).text == "Hello"
    assert len(wire.posts()) == 1


async def test_a_turn_whose_connection_broke_and_that_the_session_does_not_show_is_an_unknown_outcome(
    wire: WireServer,
) -> None:
    wire.on("POST", "/messages/stream", break_off)
    with client(wire, recovery=0.3) as made:
        for chat in both(made):
            # A history may show a turn only when it has ended: not to be seen is no proof.
            with pytest.raises(TurnOutcomeUnknown, match=r"has not shown the prompt.*look at the session before"):
                await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).open())
    assert len(wire.posts()) == 2


async def test_a_gateway_that_lost_its_upstream_is_waited_out_for_the_turn_behind_it(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", refuse(504))
    with client(wire, recovery=0.3) as made:
        for chat in both(made):
            with pytest.raises(InternalServerError, match="answered 504"):
                await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).open())


async def test_a_turn_that_the_service_failed_and_does_not_show_raises_its_error(
    chat: AnyChat, wire: WireServer
) -> None:
    wire.on("POST", "/messages/stream", refuse(500))
    with pytest.raises(InternalServerError, match="why"):
        await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).open())
    assert len(wire.posts()) == 1


async def test_the_same_words_answered_earlier_are_not_given_for_this_turns_answer(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", break_off)
    wire.on("GET", "/ses-1", history_of(UserInput(content="q"), Text(content="old"), STOP))
    with client(wire, recovery=0.3) as made:
        for chat in both(made):
            with pytest.raises(TurnOutcomeUnknown, match="may or may not be this one") as caught:
                await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).open())
            assert caught.value.turn.text == ""


async def test_a_session_that_counts_its_turns_knows_the_new_answer_from_the_old(
    chat: AnyChat, wire: WireServer
) -> None:
    session: AnySession = chat.session(index_ids=["idx-1"])
    assert (await do(session.ask("q"))).text == "Hello"
    wire.on("POST", "/messages/stream", break_off)
    old = (UserInput(content="q"), *HELLO[2:])
    wire.on("GET", "/ses-1", history_of(*old), history_of(*old, UserInput(content="q"), Text(content="new"), STOP))
    assert (await do(session.ask("q"))).text == "new"


async def test_all_holders_of_a_session_count_its_turns_together(chat: AnyChat, wire: WireServer) -> None:
    session: AnySession = chat.session(index_ids=["idx-1"])
    await do(session.ask("go on"))
    await do(chat.stream("ses-1", "go on", index_ids=["idx-1"]).result())
    wire.on("POST", "/messages/stream", break_off)
    two = (UserInput(content="go on"), *HELLO[2:]) * 2
    three = (*two, UserInput(content="go on"), Text(content="third"), STOP)
    wire.on("GET", "/ses-1", history_of(*two), history_of(*three))
    assert (await do(session.ask("go on"))).text == "third"


async def test_reading_a_session_while_its_turn_runs_does_not_miscount(chat: AnyChat, wire: WireServer) -> None:
    session: AnySession = chat.session(index_ids=["idx-own"])
    one = (UserInput(content="q"), *HELLO[2:])
    wire.on("GET", "/ses-1", history_of(UserInput(content="q")))
    async with entered(session.stream("q")) as stream:
        assert len(await do(session.turns())) == 1
        await do(stream.result())
    wire.on("POST", "/messages/stream", break_off)
    wire.on("GET", "/ses-1", history_of(*one, UserInput(content="q"), Text(content="second"), STOP))
    assert (await do(session.ask("q"))).text == "second"


async def test_a_session_that_was_pickled_does_not_take_its_count_along(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", "k")
    with client(wire, recovery=0.3) as made:
        session = made.session(index_ids=["idx-own"])
        session.ask("q")
        copy = pickle.loads(pickle.dumps(session))
        wire.on("POST", "/messages/stream", break_off)
        wire.on("GET", "/ses-1", history_of(UserInput(content="q"), *HELLO[2:]))
        assert (copy.id, copy.index_ids) == ("ses-1", ("idx-own",))
        with pytest.raises(TurnOutcomeUnknown):
            copy.ask("q")


async def test_a_turn_that_was_refused_is_not_counted(chat: AnyChat, wire: WireServer) -> None:
    session: AnySession = chat.session(index_ids=["idx-own"])
    wire.on("POST", "/messages/stream", refuse(409))
    with pytest.raises(ConflictError):
        await do(session.ask("q"))
    wire.on("POST", "/messages/stream", break_off)
    wire.on("GET", "/ses-1", history_of(UserInput(content="q"), Text(content="first"), STOP))
    assert (await do(session.ask("q"))).text == "first"


async def test_a_turn_that_is_cancelled_before_its_answer_begins_may_have_landed(wire: WireServer) -> None:
    posted = threading.Event()

    def say_nothing(_: Request, connection: Connection) -> None:
        posted.set()
        connection.wait_until_closed()

    with client(wire, recovery=0.3) as made:
        session = made.aio.session(index_ids=["idx-1"])
        await session.create()
        wire.on("POST", "/messages/stream", say_nothing)
        task = asyncio.create_task(session.ask("q"))
        assert await asyncio.to_thread(posted.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        wire.on("POST", "/messages/stream", break_off)
        wire.on("GET", "/ses-1", history_of(UserInput(content="q"), Text(content="of the first"), STOP))
        with pytest.raises(TurnOutcomeUnknown):
            await session.ask("q")


async def test_after_a_turn_that_nobody_knows_of_the_count_is_read_again_not_guessed(wire: WireServer) -> None:
    with client(wire, recovery=0.3) as made:
        for chat in both(made):
            wire.on("POST", "/messages/stream", break_off)
            wire.on("GET", "/ses-1", history_of())
            session = chat.session(index_ids=["idx-1"])
            for _ in range(2):
                with pytest.raises(TurnOutcomeUnknown):
                    await do(session.ask("q"))
            old = (UserInput(content="q"), *HELLO[2:])
            wire.on("GET", "/ses-1", history_of(*old))
            with pytest.raises(TurnOutcomeUnknown):
                await do(session.ask("q"))
            await do(session.turns())
            wire.on("GET", "/ses-1", history_of(*old, UserInput(content="q"), Text(content="new"), STOP))
            assert (await do(session.ask("q"))).text == "new"


async def test_a_look_that_finds_a_page_of_a_proxy_is_followed_by_another(chat: AnyChat, wire: WireServer) -> None:
    def page(_: Request, connection: Connection) -> None:
        connection.respond(200, b"<html>", headers={"Content-Type": "text/html"})

    wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=cut))
    wire.on("GET", "/ses-1", page, history_of(UserInput(content="q"), *HELLO[2:]))
    assert (await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).result())).text == "Hello"


async def test_a_cut_turn_that_never_ends_is_interrupted_and_keeps_its_text(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=cut))
    wire.on("GET", "/ses-1", history_of(UserInput(content="q"), TextDelta(content="Hell")))
    with client(wire, recovery=0.3) as made:
        for chat in both(made):
            seen: list[Event] = []
            with pytest.raises(TurnInterrupted, match="shows no end of the turn yet: read it again later") as caught:
                await gather_into(seen, chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))
            assert seen == [TextDelta(content="Hel"), TextDelta(content="l")]
            assert caught.value.turn.text == "Hell"


async def test_a_session_that_cannot_be_read_back_leaves_an_interrupted_turn(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=cut))
    for look in (refuse(404), refuse(503), break_off):
        wire.on("GET", "/ses-1", look)
        with client(wire, recovery=0.3) as made:
            for chat in both(made):
                with pytest.raises(TurnInterrupted, match="could not be read"):
                    await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))


async def test_a_lost_answer_whose_session_cannot_be_read_back_is_an_unknown_outcome(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", break_off)
    wire.on("GET", "/ses-1", refuse(403))
    with client(wire, recovery=5) as made:
        for chat in both(made):
            with pytest.raises(TurnOutcomeUnknown):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))


async def test_without_recovery_nothing_is_read_back_and_nothing_is_claimed(wire: WireServer) -> None:
    with client(wire, recovery=0) as made:
        for chat in both(made):
            wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=cut))
            with pytest.raises(TurnInterrupted, match="was not looked up"):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))
            wire.on("POST", "/messages/stream", refuse(500))
            with pytest.raises(InternalServerError):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))
            wire.on("POST", "/messages/stream", break_off)
            with pytest.raises(TurnOutcomeUnknown):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))
    assert [request for request in wire.requests if request.method == "GET"] == []


async def test_recovery_without_a_limit_waits_until_the_turn_has_ended(wire: WireServer) -> None:
    late = [history_of(UserInput(content="q"))] * 20
    wire.on("POST", "/messages/stream", stream_of(then=cut))
    with client(wire, recovery=None) as made:
        for chat in both(made):
            wire.on("GET", "/ses-1", *late, history_of(UserInput(content="q"), *HELLO[2:]))
            assert (await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).result())).text == "Hello"


async def test_a_turn_that_is_never_shown_is_not_looked_for_without_end(
    wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "_LONGEST_SEARCH", 0.05)
    wire.on("POST", "/messages/stream", stream_of(then=cut))
    wire.on("GET", "/ses-1", history_of(UserInput(content="q"), *HELLO[2:]))
    with client(wire, recovery=None) as made:
        for chat in both(made):
            # An answer's head is no evidence that the prompt landed, nor are words that were there before.
            with pytest.raises(TurnOutcomeUnknown, match="shows turns that may or may not be this one"):
                await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).result())


# -- deadlines -------------------------------------------------------------------------------------------------


def stall(*events: Event) -> Handler:
    return stream_of(*events, then=Connection.wait_until_closed)


def stall_with_pings(*events: Event) -> Handler:
    def ping(connection: Connection) -> None:
        # As many comments as the client will take: each moves a byte deadline on, none an event deadline.
        while True:
            connection.chunk(b": ping\n\n")

    return stream_of(*events, then=ping)


@pytest.mark.parametrize("handler", [stall, stall_with_pings])
async def test_no_event_within_the_idle_deadline_is_a_stalled_turn(
    wire: WireServer, handler: Callable[..., Handler]
) -> None:
    wire.on("POST", "/messages/stream", handler(HELLO[0]))
    wire.on("GET", "/ses-1", history_of(UserInput(content="q")))
    with client(wire, idle=0.1, recovery=0.3) as made:
        for chat in both(made):
            with pytest.raises(TurnStalled, match=r"no event within 0.1 s \(timeouts.idle\)") as caught:
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))
            assert caught.value.turn.text == "Hel"


@pytest.mark.parametrize("handler", [stall, stall_with_pings])
async def test_no_first_event_in_time_is_a_stalled_turn(wire: WireServer, handler: Callable[..., Handler]) -> None:
    wire.on("POST", "/messages/stream", handler())
    wire.on("GET", "/ses-1", history_of(UserInput(content="q")))
    with client(wire, first_event=0.1, recovery=0.3) as made:
        for chat in both(made):
            with pytest.raises(TurnStalled, match=r"timeouts.first_event"):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))


async def test_no_answer_at_all_to_a_prompt_that_the_session_does_not_show_is_an_unknown_outcome(
    wire: WireServer,
) -> None:
    wire.on("POST", "/messages/stream", lambda _, connection: connection.wait_until_closed())
    with client(wire, first_event=0.1, recovery=0.3) as made:
        for chat in both(made):
            with pytest.raises(TurnOutcomeUnknown, match=r"timeouts\.first_event"):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))


async def test_a_turn_may_not_take_longer_than_its_total_deadline(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", stall(HELLO[0]))
    wire.on("GET", "/ses-1", history_of(UserInput(content="q")))
    with client(wire, total=0.5, recovery=0.3) as made:
        for chat in both(made):
            with pytest.raises(TurnStalled, match=r"longer than 0.5 s \(timeouts.total\)"):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))


async def test_a_service_that_never_pauses_does_not_outrun_the_total_deadline(wire: WireServer) -> None:
    some = in_one_read(*[TextDelta(content="on ")] * 300)

    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        for _number in range(1_000):
            connection.chunk(some)
        connection.reset()

    wire.on("POST", "/messages/stream", handle)
    wire.on("GET", "/ses-1", history_of(UserInput(content="q")))
    with client(wire, total=0.5, recovery=0.3) as made:
        for chat in both(made):
            with pytest.raises(TurnStalled, match=r"longer than 0.5 s \(timeouts.total\)"):
                await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False))


async def test_a_stalled_turn_that_has_ended_meanwhile_is_given_whole(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", stall(HELLO[0]))
    wire.on("GET", "/ses-1", history_of(UserInput(content="q"), *HELLO[2:]))
    with client(wire, idle=0.1) as made:
        for chat in both(made):
            assert (await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).result())).text == "Hello"


async def test_no_deadline_at_all_is_possible(wire: WireServer) -> None:
    with client(wire, connect=None, first_event=None, idle=None, total=None, recovery=None) as made:
        for chat in both(made):
            assert (await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).result())).text == "Hello"
            assert (await do(chat.get_summary("ses-1"))).session_id == "ses-1"
            wire.on("POST", "/messages/stream", stream_of(then=cut), stream_of(*HELLO))
            late = history_of(UserInput(content="q"))
            wire.on("GET", "/ses-1", late, history_of(UserInput(content="q"), *HELLO[2:]))
            assert (await do(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False).result())).text == "Hello"


async def test_a_transport_without_a_socket_keeps_the_deadlines_at_the_next_bytes(wire: WireServer) -> None:
    class Body(httpx.SyncByteStream, httpx.AsyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b'data: {"type": "text_delta", "content": "Hel"}\n\n'
            while True:
                yield b": ping\n\n"

        async def __aiter__(self):  # type: ignore[no-untyped-def]
            for chunk in self:
                yield chunk

    def transport(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={**SUMMARY, "events": [dump_event(UserInput(content="q"))]})
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=Body())

    timeouts = Timeouts(idle=0.05, recovery=0.3)
    mock = httpx.MockTransport(transport)
    async with httpx.AsyncClient(transport=mock) as async_mine:
        with httpx.Client(transport=mock) as mine:
            made = LlamaCloudChat(api_key="k", http_client=mine, async_http_client=async_mine, timeouts=timeouts)
            for chat in both(made):
                with pytest.raises(TurnStalled):
                    await every(chat.stream("ses-1", "q", index_ids=["idx-1"]))


# -- which indexes, which session ------------------------------------------------------------------------------


async def test_indexes_come_from_the_call_then_the_session_then_the_client(wire: WireServer) -> None:
    unbound = {**SUMMARY, "session_id": "ses-2", "index_ids": None}
    wire.on("GET", "/ses-2", lambda _, c: c.respond(200, {**unbound, "events": []}))
    wire.on("GET", "/ses-2/summary", lambda _, c: c.respond(200, unbound))
    with LlamaCloudChat(api_key="k", base_url=wire.url, index_ids=["idx-client"]) as made:
        for chat in both(made):
            await do(chat.session("ses-1", index_ids=["idx-held"]).ask("q", index_ids=["idx-call"]))
            await do(chat.session("ses-1", index_ids=["idx-held"]).ask("q"))
            await do(chat.stream("ses-1", "q").result())
            await do(chat.session("ses-2").ask("q"))
    sent = [request.json["index_ids"] for request in wire.posts()]
    assert sent == [["idx-call"], ["idx-held"], ["idx-own"], ["idx-client"]] * 2


async def test_a_turn_without_any_index_is_refused_before_it_is_sent(chat: AnyChat, wire: WireServer) -> None:
    unbound = {**SUMMARY, "index_ids": None}
    wire.on("GET", "/ses-1/summary", lambda _, c: c.respond(200, unbound))
    wire.on("GET", "/ses-1", lambda _, c: c.respond(200, {**unbound, "events": []}))
    for baseline in (False, True):
        with pytest.raises(ConfigurationError, match="no index to ask"):
            await do(chat.stream("ses-1", "q", baseline=baseline).open())
    assert wire.posts() == []


async def test_a_first_turn_without_any_index_leaves_no_session_behind(chat: AnyChat, wire: WireServer) -> None:
    session: AnySession = chat.session()
    with pytest.raises(ConfigurationError, match="no index to ask"):
        session.stream("q")
    assert (session.id, wire.requests) == (None, [])
    assert (await do(session.ask("q", index_ids=["idx-1"]))).is_complete


async def test_require_all_indexes_is_sent_when_it_is_asked_for(chat: AnyChat, wire: WireServer) -> None:
    await do(chat.stream("ses-1", "q", index_ids=["idx-1"], require_all_indexes=True).result())
    assert wire.posts()[0].json["require_all_indexes"] is True


async def test_a_session_is_created_at_its_first_send_and_once(chat: AnyChat, wire: WireServer) -> None:
    session: AnySession = chat.session(index_ids=["idx-1"])
    assert session.id is None
    assert await do(session.turns()) == []
    with pytest.raises(ConfigurationError, match="does not exist yet"):
        await do(session.summary())
    await do(session.ask("q"))
    await do(session.ask("q"))
    assert {session.id, await do(session.create())} == {"ses-1"}
    assert [request.json for request in wire.posts("/api/v1/chat")] == [{"index_ids": ["idx-1"]}]


async def test_two_first_sends_at_once_create_one_session(sync_chat: LlamaCloudChat, wire: WireServer) -> None:
    async_session = sync_chat.aio.session(index_ids=["idx-1"])
    await asyncio.gather(async_session.ask("q"), async_session.ask("q"))
    session = sync_chat.session(index_ids=["idx-1"])
    threads = [threading.Thread(target=session.ask, args=("q",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert len(wire.posts("/api/v1/chat")) == 2
    assert len(wire.posts()) == 4


async def test_a_held_session_gives_its_turns_summary_title_and_can_be_deleted(chat: AnyChat, wire: WireServer) -> None:
    wire.on("GET", "/ses-1", history_of(Text(content="lost prompt"), STOP, UserInput(content="q"), *HELLO))
    wire.on("POST", "/ses-1/title", lambda _, connection: connection.respond(200, SUMMARY))
    wire.on("DELETE", "/ses-1", lambda _, connection: connection.respond(204))
    session: AnySession = chat.session("ses-1")
    assert [turn.text for turn in await do(session.turns())] == ["lost prompt", "Hello"]
    assert len((await do(session.retrieve())).events) == 7
    assert session.index_ids == ("idx-own",)
    assert (await do(session.summary())).session_id == "ses-1"
    assert (await do(session.set_title())).title_origin == "requested"
    await do(session.set_title("another"))
    assert [request.json for request in wire.posts("/title")] == [{"first_message": "q"}, {"first_message": "another"}]
    await do(session.delete())
    assert repr(session).endswith("ChatSession(id='ses-1', index_ids=('idx-own',), service='llama_cloud')")


async def test_a_session_without_a_message_has_nothing_to_make_a_title_from(chat: AnyChat) -> None:
    with pytest.raises(ConfigurationError, match="no message yet"):
        await do(chat.session("ses-1").set_title())


def test_an_empty_session_id_is_refused(sync_chat: LlamaCloudChat) -> None:
    with pytest.raises(ConfigurationError, match="session_id is empty"):
        sync_chat.session("")


# -- one turn at a time ----------------------------------------------------------------------------------------


async def test_a_second_turn_on_a_session_begins_when_the_first_has_ended(
    sync_chat: LlamaCloudChat, wire: WireServer
) -> None:
    first_is_open, may_end = threading.Event(), threading.Event()
    order: list[str] = []

    def first(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(HELLO[0])
        assert may_end.wait(10)
        order.append("first ends")
        connection.events(*HELLO[1:])
        connection.end_stream()

    def second(request: Request, connection: Connection) -> None:
        order.append("second begins")
        stream_of(*HELLO)(request, connection)

    wire.on("POST", "/messages/stream", first, second)

    def sync_turn() -> None:
        with sync_chat.stream("ses-1", "one", index_ids=["idx-1"]) as stream:
            next(stream)
            first_is_open.set()
            stream.result()

    thread = threading.Thread(target=sync_turn)
    thread.start()
    await asyncio.to_thread(first_is_open.wait, 10)
    task: asyncio.Task[Turn] = asyncio.create_task(
        do(sync_chat.aio.stream("ses-1", "two", index_ids=["idx-1"]).result())
    )
    other = await sync_chat.aio.get_summary("ses-1")
    assert (other.session_id, order) == ("ses-1", [])
    may_end.set()
    assert (await task).text == "Hello"
    await asyncio.to_thread(thread.join)
    assert order == ["first ends", "second begins"]


async def test_waiting_for_ones_own_open_turn_is_an_error_and_no_deadlock(chat: AnyChat) -> None:
    async with entered(chat.stream("ses-1", "one", index_ids=["idx-1"])):
        with pytest.raises(ConfigurationError, match="still has an open turn"):
            await do(chat.stream("ses-1", "two", index_ids=["idx-1"]).open())
    assert (await do(chat.stream("ses-1", "two", index_ids=["idx-1"]).result())).text == "Hello"


async def test_a_stream_that_is_closed_before_its_turn_comes_sends_nothing(chat: AnyChat, wire: WireServer) -> None:
    unopened = chat.stream("ses-1", "zero", index_ids=["idx-1"])
    await do(unopened.close())
    assert await every(unopened) == []
    with pytest.raises(ConfigurationError, match="closed before it was opened"):
        await do(unopened.open())
    assert wire.posts() == []


async def test_a_stream_that_is_closed_while_it_waits_for_another_sends_nothing(
    sync_chat: LlamaCloudChat, wire: WireServer
) -> None:
    first = sync_chat.aio.stream("ses-1", "one", index_ids=["idx-1"])
    await first.open()
    second = sync_chat.aio.stream("ses-1", "two", index_ids=["idx-1"])
    waiting = asyncio.create_task(second.open())
    in_thread = sync_chat.stream("ses-1", "three", index_ids=["idx-1"])
    errors: list[BaseException] = []

    def wait_in_thread() -> None:
        try:
            in_thread.open()
        except ConfigurationError as error:
            errors.append(error)

    thread = threading.Thread(target=wait_in_thread)
    thread.start()
    await asyncio.to_thread(until_waiting, sync_chat.queue_key("ses-1"), 3)
    await second.close()
    in_thread.close()
    await first.result()
    with pytest.raises(ConfigurationError, match="nothing was sent"):
        await waiting
    await asyncio.to_thread(thread.join)
    assert "nothing was sent" in str(errors[0])
    assert [request.json["prompt"] for request in wire.posts()] == ["one"]


async def test_a_stream_that_was_dropped_blocks_no_session_and_keeps_no_connection(
    chat: AnyChat, wire: WireServer
) -> None:
    closed = threading.Semaphore(0)

    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(HELLO[0])
        connection.wait_until_closed()
        closed.release()

    for is_read in (True, False):
        wire.on("POST", "/messages/stream", handle)
        stream = chat.stream("ses-1", "one", index_ids=["idx-1"])
        await do(stream.open())
        if is_read:
            async for _ in some(stream):
                break
        del stream
        gc.collect()
        assert await asyncio.to_thread(closed.acquire, timeout=10)
    wire.on("POST", "/messages/stream", stream_of(*HELLO))
    assert (await do(chat.stream("ses-1", "two", index_ids=["idx-1"]).result())).text == "Hello"


async def test_a_stream_that_was_dropped_is_counted(wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=Connection.wait_until_closed), break_off)
    with client(wire, recovery=0.3) as made:
        session = made.session(index_ids=["idx-1"])
        stream = session.stream("q").open()
        assert next(stream) == HELLO[0]
        del stream
        gc.collect()
        wire.on("POST", "/messages/stream", break_off)
        wire.on("GET", "/ses-1", history_of(UserInput(content="q"), Text(content="of the first"), STOP))
        with pytest.raises(TurnOutcomeUnknown):
            session.ask("q")


async def test_the_task_that_left_an_async_generator_may_ask_for_the_next_turn_at_once(
    sync_chat: LlamaCloudChat, wire: WireServer
) -> None:
    wire.on("POST", "/messages/stream", stream_of(*HELLO[:2], then=Connection.wait_until_closed), stream_of(*HELLO))
    session = sync_chat.aio.session(index_ids=["idx-1"])

    async def shouted(deltas: AsyncIterator[str]) -> AsyncIterator[str]:
        async for delta in deltas:
            yield delta.upper()

    async def twice(deltas: AsyncIterator[str]) -> AsyncIterator[str]:
        async for delta in deltas:
            yield delta * 2

    async for delta in twice(shouted(session.stream("q").text_deltas())):
        assert delta == "HELHEL"
        break
    # The event loop closes what was left: nothing here waits for that.
    assert (await session.ask("again")).text == "Hello"


async def test_leaving_a_stream_leaves_no_task_behind(sync_chat: LlamaCloudChat, wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=Connection.wait_until_closed))
    before = asyncio.all_tasks()
    async with sync_chat.aio.stream("ses-1", "q", index_ids=["idx-1"]) as stream:
        assert await anext(stream) == HELLO[0]
    assert asyncio.all_tasks() == before


class SlowToClose:
    """A service whose connections take as long to close as the test likes."""

    def __init__(self) -> None:
        self.may_close = asyncio.Event()
        self.posted: list[str] = []

    async def open_turn(self, request: TurnRequest, clock: EventClock) -> SlowToClose:
        self.posted.append(request.prompt)
        return self

    async def read_back(self, session_id: str, *, timeout: float | None) -> list[Event]:
        raise AssertionError("nothing broke")

    async def __anext__(self) -> Event:
        return STOP if self.posted[-1] == "two" else HELLO[0]

    def ready_event(self) -> Event | None:
        return None

    async def finish(self) -> None:
        pass

    async def close(self) -> None:
        await self.may_close.wait()


async def test_the_task_that_read_a_stream_waits_for_the_task_that_closes_it() -> None:
    service = SlowToClose()

    async def prepare(prompt: str) -> PreparedTurn:
        return PreparedTurn(TurnRequest("ses-slow", prompt, ("idx-1",)), ("slow", "ses-slow"), TurnCount())

    first = AsyncTurnStream(service, lambda: prepare("one"), prompt="one", timeouts=Timeouts())
    assert await anext(first) == HELLO[0]
    closing = asyncio.create_task(first.close())

    async def let_it_close() -> None:
        await asyncio.to_thread(until_waiting, ("slow", "ses-slow"), 2)
        service.may_close.set()

    letting = asyncio.create_task(let_it_close())
    second = AsyncTurnStream(service, lambda: prepare("two"), prompt="two", timeouts=Timeouts())
    assert (await second.result()).is_complete
    await asyncio.gather(closing, letting)
    assert service.posted == ["one", "two"]


async def test_the_task_that_abandons_a_stream_waits_for_its_closing(chat: AnyChat, wire: WireServer) -> None:
    wire.on("POST", "/messages/stream", stream_of(HELLO[0], then=Connection.wait_until_closed), stream_of(*HELLO))
    stream: AnyStream = chat.stream("ses-1", "one", index_ids=["idx-1"])
    stream.abandon()
    await do(stream.open())
    stream.abandon()

    def close() -> None:
        until_waiting(chat.queue_key("ses-1"), 2)
        if isinstance(stream, TurnStream):
            stream.close()
        else:
            loop.call_soon_threadsafe(lambda: closing.append(loop.create_task(stream.close())))

    loop = asyncio.get_running_loop()
    closing: list[asyncio.Task[None]] = []
    thread = threading.Thread(target=close)
    thread.start()
    assert (await do(chat.stream("ses-1", "two", index_ids=["idx-1"]).result())).text == "Hello"
    await asyncio.gather(*closing)
    thread.join()


async def test_a_held_session_has_an_async_twin_that_is_the_same_session(sync_chat: LlamaCloudChat) -> None:
    session = sync_chat.session(index_ids=["idx-1"])
    assert (await session.aio.ask("q")).text == "Hello"
    assert session.id == session.aio.id == "ses-1"
