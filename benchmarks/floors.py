"""What nobody can be faster than: the transport alone, and each framework over a source in this process.

T, the floor of the goals, is httpx with httpx-sse and pydantic: what a careful user would write by hand, with models of
their own.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from httpx_sse import EventSource
from pydantic import BaseModel, Field, JsonValue, TypeAdapter

from benchmarks.subject import Bench, Subject
from benchmarks.wires import words

__all__ = ["BYTES", "SOCKET", "T", "acount_words", "count_words", "read", "read_async"]

_BODY = {"index_ids": ["idx"], "prompt": "q"}


class _Content(BaseModel):
    type: Literal["user_input", "thinking_delta", "thinking", "text"]
    content: str


class _TextDelta(BaseModel):
    type: Literal["text_delta"]
    content: str


class _ToolCall(BaseModel):
    type: Literal["tool_call"]
    call_id: str
    name: str
    arguments: dict[str, JsonValue]


class _ToolResult(BaseModel):
    type: Literal["tool_result"]
    call_id: str
    name: str
    result: JsonValue


class _Usage(BaseModel):
    total_input_tokens: int | None
    total_output_tokens: int | None


class _Stop(BaseModel):
    type: Literal["stop"]
    usage: _Usage
    is_error: bool
    error: str | None


_Event = _Content | _TextDelta | _ToolCall | _ToolResult | _Stop
_events: TypeAdapter[_Event] = TypeAdapter(Annotated[_Event, Field(discriminator="type")])


def read(bench: Bench, plan: str) -> Iterator[str]:
    """T."""
    with bench.http.stream("POST", bench.turn_url(plan), json=_BODY) as response:
        for sse in EventSource(response).iter_sse():
            event = _events.validate_json(sse.data)
            if isinstance(event, _TextDelta):
                yield event.content


async def read_async(bench: Bench, plan: str) -> AsyncIterator[str]:
    """T for code that awaits."""
    async with bench.async_http.stream("POST", bench.turn_url(plan), json=_BODY) as response:
        async for sse in EventSource(response).aiter_sse():
            event = _events.validate_json(sse.data)
            if isinstance(event, _TextDelta):
                yield event.content


def _read_bytes(bench: Bench, plan: str) -> Iterator[str]:
    """httpx alone. Its bytes are not read, so that the text is what the server is known to send."""
    with bench.http.stream("POST", bench.turn_url(plan), json=_BODY) as response:
        for _ in response.iter_raw():
            pass
    yield "".join(words(int(plan.split("-")[1])))


async def _read_bytes_async(bench: Bench, plan: str) -> AsyncIterator[str]:
    async with bench.async_http.stream("POST", bench.turn_url(plan), json=_BODY) as response:
        async for _ in response.aiter_raw():
            pass
    yield "".join(words(int(plan.split("-")[1])))


def _read_socket(bench: Bench, plan: str) -> Iterator[str]:
    """A socket and json. Chunk sizes are lines without `data:`, and chunks of 16 KiB are joined first."""
    address = urlsplit(bench.url)
    with socket.create_connection((address.hostname or "", address.port or 0)) as sock:
        sock.sendall(f"POST {urlsplit(bench.turn_url(plan)).path} HTTP/1.1\r\nHost: benchmark\r\n\r\n".encode())
        reader = sock.makefile("rb")
        while reader.readline() != b"\r\n":
            pass
        rest = b""
        while size := int(reader.readline(), 16):
            *lines, rest = (rest + reader.read(size)).split(b"\n")
            reader.readline()
            for line in lines:
                if line.startswith(b"data: "):
                    event = json.loads(line[6:])
                    if event["type"] == "text_delta":
                        yield event["content"]


def count_words(plan: str) -> Iterator[str]:
    """The source in this process."""
    return words(int(plan.split("-")[1]))


async def acount_words(plan: str) -> AsyncIterator[str]:
    """The source in this process, for code that awaits."""
    for word in count_words(plan):
        yield word


SOCKET = Subject("socket", __name__, _read_socket, None, "socket + json")
BYTES = Subject("httpx", __name__, _read_bytes, _read_bytes_async, "httpx, bytes not read")
T = Subject("T", __name__, read, read_async, "T: httpx + httpx-sse + pydantic")
