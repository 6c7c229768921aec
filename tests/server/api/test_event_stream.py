"""A turn as an event stream: whole, in chunks of its own, and without holding up others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import pytest
from fastapi.responses import StreamingResponse
from starlette.types import Message, Scope

from chat_sessions.core.events import Event, TextDelta
from chat_sessions.server import AgentTurn, Behaviour, create_app
from chat_sessions.server.api.event_stream import event_stream
from chat_sessions.server.store.records import StoredEvent
from chat_sessions.server.turns.running import RunningTurn
from tests.server.scripted import IDS, PaperIndex

SCOPE: Scope = {"type": "http", "method": "POST"}


def deltas(count: int) -> list[StoredEvent]:
    return [StoredEvent("text_delta", f'{{"type":"text_delta","content":"{number}"}}') for number in range(count)]


def turn_of(*events: StoredEvent) -> RunningTurn:
    """A turn that has ended, with all its events ready."""
    turn = RunningTurn("ses-1", 7, asyncio.Lock())
    turn.show(*events)
    turn.end()
    return turn


async def _stays() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("nothing sets it")


async def chunks_of(events: Sequence[StoredEvent], behaviour: Behaviour) -> list[bytes]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await StreamingResponse(event_stream(turn_of(*events), behaviour))(SCOPE, _stays, send)
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

    await StreamingResponse(event_stream(turn_of(*deltas(100)), Behaviour()))(SCOPE, _stays, send)
    assert happened.count("sent") == 100
    assert happened.index("other") <= 32


async def test_a_keep_alive_is_a_comment_and_comes_only_while_no_event_waits() -> None:
    turn = RunningTurn("ses-1", 7, asyncio.Lock())
    stream = event_stream(turn, Behaviour(event_names="none"))
    turn.nudge()
    turn.nudge()
    assert (await anext(stream)).startswith(b": ping - ")
    (event,) = deltas(1)
    turn.show(event)
    turn.nudge()
    turn.end()
    assert [block async for block in stream] == [f"data: {event.body}\r\n\r\n".encode()]


class Waiting:
    """An agent that says one word, and then nothing until its turn is cancelled."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        yield TextDelta(content="a")
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
@pytest.mark.parametrize("how", ["leaves", "is cut off"])
async def test_a_client_that_leaves_while_it_is_sent_to_cancels_the_turn_where_that_is_the_rule(
    spec_version: str, how: str
) -> None:
    """ASGI servers say so in two ways: with a message, and from version 2.4 on with an error of `send`.

    A server that ends at once says nothing, and cancels the request.
    """
    agent = Waiting()
    app = create_app(
        indexes={"idx-docs": PaperIndex()}, agent=agent, api_key="key", behaviour=Behaviour(on_disconnect="cancel")
    )
    stuck = asyncio.Event()
    body = json.dumps({"index_ids": IDS, "prompt": "hi"}).encode()
    incoming: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if incoming:
            return incoming.pop()
        await stuck.wait()
        if how == "is cut off":
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            stuck.set()
            if spec_version == "2.4" and how == "leaves":
                raise OSError("the client has gone")
            await asyncio.Event().wait()

    async with app.router.lifespan_context(app):
        session_id = (await app.state.context.store.create_session(index_ids=None, shared_access=None)).session_id
        request = asyncio.ensure_future(
            app(
                {
                    **SCOPE,
                    "asgi": {"spec_version": spec_version},
                    "path": f"/api/v1/chat/{session_id}/messages/stream",
                    "headers": [(b"authorization", b"Bearer key")],
                    "query_string": b"",
                },
                receive,
                send,
            )
        )
        await stuck.wait()
        if how == "is cut off":
            request.cancel()
        with suppress(Exception, asyncio.CancelledError):
            await request
        await agent.cancelled.wait()
        await app.state.close_turns()
        events = await app.state.context.store.events(session_id)
    assert json.loads(events[-1].body)["error"] == "the client disconnected"
