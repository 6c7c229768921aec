"""A service that answers every turn with Hello, and what may happen to its streams instead."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from chat_sessions import Event, LlamaCloudChat, Stop, Text, TextDelta, Timeouts, Usage
from chat_sessions.core.events import dump_event
from chat_sessions.session import recovery
from tests.faces import AnyChat, AnyStream, some
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


def in_one_read(*events: Event | bytes) -> bytes:
    """These events as bytes that arrive together."""
    bodies = (event if isinstance(event, bytes) else json.dumps(dump_event(event)).encode() for event in events)
    return b"".join(b"event: message\ndata: " + body + b"\n\n" for body in bodies)


def end_early(connection: Connection) -> None:
    connection.end_stream()


def cut(connection: Connection) -> None:
    connection.reset()
