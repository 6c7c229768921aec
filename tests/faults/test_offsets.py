"""A connection that breaks at any byte of a turn leaves the whole turn, shown once, and one prompt."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Literal

import httpx
import pytest

from chat_sessions import (
    LlamaCloudChat,
    LocalServer,
    Session,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    Turn,
    replay,
)
from chat_sessions.server import Behaviour
from chat_sessions.testing import Cut, How
from tests.faces import AnyStream, every
from tests.faults.playback import QUESTION, Playback, record
from tests.faults.speaker import LONG, Speaker, as_read
from tests.faults.test_adapters import Ask, astream, astream_chat, stream, stream_chat

ENDS: tuple[Literal["clean", "fin", "reset"], ...] = ("clean", "fin", "reset")
FACES = ("sync", "async")
PARTS = 8
# A prime: over the bytes of an event, all its places come up.
ADAPTER_STRIDE = 11
SUMMARY = {"last_updated_at": "2026-04-22T12:34:41", "generated_title": None, "index_ids": None, "job_metadata": None}
# A developer's run breaks each byte in one way, CI each byte in all of them.
EVERY_WAY = os.environ.get("HYPOTHESIS_PROFILE") == "long"


@cache
def recording(folder: Path) -> tuple[bytes, bytes, Turn]:
    folder.mkdir()
    (folder / "note.md").write_text("# Note\n\nIt rose.\n")
    behaviour = Behaviour(event_names="none")
    with LocalServer(indexes={"idx-docs": folder}, agent=Speaker(LONG), behaviour=behaviour) as server:
        stream, history = record(server)
    return stream, history, replay(Session.model_validate_json(history).events)[0]


@pytest.fixture
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, Turn]:
    return recording(tmp_path_factory.getbasetemp() / "recorded")


async def assert_whole_and_once(stream: AnyStream, whole: Turn, where: object) -> None:
    events = await every(stream)
    shown = "".join(event.content for event in events if isinstance(event, TextDelta))
    thought = "".join(event.content for event in events if isinstance(event, ThinkingDelta))
    calls = [event.call_id for event in events if isinstance(event, ToolCall | ToolResult)]
    assert stream.turn == whole, where
    assert (shown, thought) == (whole.text, whole.thinking), where
    assert calls == [run.call_id for run in whole.tool_runs for _ in range(2)], where
    assert [event.type for event in events].count("stop") == 1, where


class _Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that breaks off."""

    def __init__(self, data: bytes, how: How) -> None:
        self.data = data
        self.how = how

    def _break(self) -> None:
        if self.how == "reset":
            raise httpx.ReadError("reset")
        if self.how == "fin":
            raise httpx.RemoteProtocolError("incomplete chunked read")

    def __iter__(self) -> Iterator[bytes]:
        yield self.data
        self._break()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.data
        self._break()


class _Wire:
    """Without sockets: a test of each byte on each of them would take minutes."""

    def __init__(self, stream: bytes, history: bytes) -> None:
        self.stream = stream
        self.history = history
        self.cut: tuple[int, How] = (0, "clean")
        self.posts = 0
        self.numbers = count()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            asked = request.url.path.split("/")[4]
            return httpx.Response(200, json={**json.loads(self.history), "session_id": asked})
        if request.url.path == "/api/v1/chat":
            return httpx.Response(200, json={**SUMMARY, "session_id": f"ses-{next(self.numbers)}"})
        self.posts += 1
        at, how = self.cut
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=_Broken(self.stream[:at], how))


@pytest.mark.parametrize("part", range(PARTS))
async def test_a_turn_of_200_events_cut_at_each_of_its_bytes_is_whole_and_shown_once(
    recorded: tuple[bytes, bytes, Turn], part: int
) -> None:
    stream, history, whole = recorded
    assert stream.count(b"data:") > 190
    wire = _Wire(stream, history)
    ways = [(how, face) for how in ENDS for face in FACES]
    transport = httpx.MockTransport(wire)
    turns = 0
    async with httpx.AsyncClient(transport=transport) as async_http:
        with httpx.Client(transport=transport) as http:
            chat = LlamaCloudChat(
                api_key="k", base_url="http://127.0.0.1", http_client=http, async_http_client=async_http
            )
            for at in range(part, len(stream), PARTS):
                for how, face in ways if EVERY_WAY else [ways[at // PARTS % len(ways)]]:
                    wire.cut = (at, how)
                    face_chat = chat if face == "sync" else chat.aio
                    opened: AnyStream = face_chat.session(index_ids=["idx-docs"]).stream(QUESTION)
                    await assert_whole_and_once(opened, whole, (at, how, face))
                    turns += 1
    assert wire.posts == turns


@pytest.mark.parametrize("ask", [stream_chat, astream_chat, stream, astream], ids=lambda ask: ask.__name__)
async def test_a_turn_cut_at_its_bytes_is_whole_through_both_adapters(
    recorded: tuple[bytes, bytes, Turn], ask: Ask
) -> None:
    events, history, whole = recorded
    wire = _Wire(events, history)
    transport = httpx.MockTransport(wire)
    turns = 0
    async with httpx.AsyncClient(transport=transport) as async_http:
        with httpx.Client(transport=transport) as http:
            chat = LlamaCloudChat(
                api_key="k",
                base_url="http://127.0.0.1",
                index_ids=["idx-docs"],
                http_client=http,
                async_http_client=async_http,
            )
            # The client breaks each byte; what stands on it, one of many by default.
            for at in range(0, len(events), 1 if EVERY_WAY else ADAPTER_STRIDE):
                wire.cut = (at, ENDS[at % 3])
                assert await ask(chat) == as_read(whole), (at, ask)
                turns += 1
    assert wire.posts == turns


@pytest.mark.parametrize("face", FACES)
async def test_a_turn_cut_on_a_real_socket_around_each_event_is_whole_and_shown_once(
    recorded: tuple[bytes, bytes, Turn], face: str
) -> None:
    stream, history, whole = recorded
    boundaries = [0, *(match.end() for match in re.finditer(rb"\r\n\r\n", stream))]
    offsets = [max(0, at + number % 3 - 1) for number, at in enumerate(boundaries)]
    with Playback(stream, history) as played, played.client() as client:
        chat = client if face == "sync" else client.aio
        for number, at in enumerate(offsets):
            how = ENDS[number // 3 % 3]
            played.faults.script(Cut(at_byte=at, how=how))
            await assert_whole_and_once(chat.session().stream(QUESTION), whole, (at, how))
        assert played.faults.prompts == (QUESTION,) * len(offsets)
        await client.aio.close()
