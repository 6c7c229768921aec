"""A turn is streamed as it comes, and ends with its stop."""

from __future__ import annotations

import gzip
import json
import threading

from chat_sessions import TextDelta, Usage
from chat_sessions.core.events import dump_event
from tests.faces import AnyChat, do, entered, every, some
from tests.session.streams.service import HELLO, STOP, in_one_read, service, stream_of
from tests.wire_server import Connection, Request, WireServer

__all__ = ["service"]


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


async def test_thousands_of_events_that_add_nothing_cost_no_stack(chat: AnyChat, wire: WireServer) -> None:
    def handle(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.chunk(in_one_read(*[TextDelta(content="")] * 5_000, *HELLO))
        connection.wait_until_closed()

    wire.on("POST", "/messages/stream", handle)
    assert (await every(chat.stream("ses-1", "q", index_ids=["idx-1"], baseline=False)))[-1] == STOP
