"""A turn as an event stream: whole, in chunks of its own, and without holding up others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from starlette.types import Message, Scope

from chat_sessions.server.api.event_stream import EventStream
from chat_sessions.server.store.store import StoredEvent
from chat_sessions.server.turns.behaviour import Behaviour
from chat_sessions.server.turns.turns import RunningTurn

SCOPE: Scope = {"type": "http", "method": "POST"}


def deltas(count: int) -> list[StoredEvent]:
    return [StoredEvent("text_delta", f'{{"type":"text_delta","content":"{number}"}}') for number in range(count)]


def turn_of(*events: StoredEvent) -> RunningTurn:
    """A turn that has ended, with all its events ready."""
    turn = RunningTurn("ses-1", 7, asyncio.Lock())
    turn.show(*events)
    turn.show()
    return turn


async def _stays() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def _answers() -> None:
    await asyncio.Event().wait()


async def chunks_of(events: Sequence[StoredEvent], behaviour: Behaviour) -> list[bytes]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await EventStream(turn_of(*events), behaviour, grace=1)(SCOPE, _stays, send)
    assert sent[0]["type"] == "http.response.start"
    assert [message["more_body"] for message in sent[1:]] == [True] * (len(sent) - 2) + [False]
    return [message["body"] for message in sent[1:-1]]


@pytest.mark.parametrize(
    ("behaviour", "lines"),
    [
        (Behaviour(event_names="none", event_ids=False), b""),
        (Behaviour(event_names="type", event_ids=False), b"event: text_delta\r\n"),
        (Behaviour(event_names="none", event_ids=True), b"id: 7-1\r\n"),
        (Behaviour(event_names="kind", event_ids=True), b"id: 7-1\r\nevent: delta\r\n"),
    ],
)
async def test_each_event_is_one_chunk_of_one_block(behaviour: Behaviour, lines: bytes) -> None:
    event = StoredEvent("text_delta", '{"type":"text_delta","content":"größer\\n\u2028"}')
    assert await chunks_of([event], behaviour) == [lines + b"data: " + event.body.encode() + b"\r\n\r\n"]
    assert len(await chunks_of(deltas(100), behaviour)) == 100


async def test_a_burst_lets_others_go_on_before_it_is_all_sent() -> None:
    happened: list[str] = []

    async def send(message: Message) -> None:
        # The first: the other is ready from then on, and gets its turn when this stream lets go.
        if message["type"] == "http.response.start":
            asyncio.get_running_loop().call_soon(happened.append, "other")
        elif message["more_body"]:
            happened.append("sent")

    await EventStream(turn_of(*deltas(100)), Behaviour(), grace=1)(SCOPE, _stays, send)
    assert happened.count("sent") == 100
    assert happened.index("other") <= 32


async def test_a_client_that_leaves_while_it_is_sent_to_cancels_the_turn_where_that_is_the_rule() -> None:
    for rule, why in (("cancel", "the client disconnected"), ("finish", None)):
        turn = RunningTurn("ses-1", 7, asyncio.Lock())
        turn.answering = answering = asyncio.create_task(_answers())
        turn.show(*deltas(1))
        stuck = asyncio.Event()

        async def send(message: Message, stuck: asyncio.Event = stuck) -> None:
            if message["type"] == "http.response.body":
                stuck.set()
                await asyncio.Event().wait()

        async def leaves(stuck: asyncio.Event = stuck) -> Message:
            await stuck.wait()
            return {"type": "http.disconnect"}

        await EventStream(turn, Behaviour(on_disconnect=rule), grace=1)(SCOPE, leaves, send)  # type: ignore[arg-type]
        assert turn.why_cancelled == why
        answering.cancel()
