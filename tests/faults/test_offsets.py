"""A connection that breaks at any byte of a turn leaves the whole turn, shown once, and one prompt."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import httpx
import pytest

from chat_sessions import (
    LlamaCloudChat,
    LocalServer,
    Session,
    ToolCall,
    ToolResult,
    Turn,
    replay,
)
from chat_sessions.server import Behaviour
from chat_sessions.testing import Cut
from tests.faces import AnyStream, every, said, thought
from tests.faults.cutting import ENDS, KINDS, SURFACES, Kind, Wire, sweep
from tests.faults.playback import QUESTION, Playback, record
from tests.faults.speaker import LONG, Speaker

FACES = ("sync", "async")
PARTS = 8
# A prime: over the bytes of an event, all its places come up.
SURFACE_STRIDE = 47
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
    calls = [event.call_id for event in events if isinstance(event, ToolCall | ToolResult)]
    assert stream.turn == whole, where
    assert (said(events), thought(events)) == (whole.text, whole.thinking), where
    assert calls == [run.call_id for run in whole.tool_runs for _ in range(2)], where
    assert [event.type for event in events].count("stop") == 1, where


@pytest.mark.parametrize("part", range(PARTS))
async def test_a_turn_of_200_events_cut_at_each_of_its_bytes_is_whole_and_shown_once(
    recorded: tuple[bytes, bytes, Turn], part: int
) -> None:
    stream, history, whole = recorded
    assert stream.count(b"data:") > 190
    wire = Wire(stream, history)
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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("surface", SURFACES)
async def test_a_turn_cut_at_its_bytes_is_whole_through_every_surface_and_never_an_older_one(
    recorded: tuple[bytes, bytes, Turn], surface: str, kind: Kind
) -> None:
    stream, history, whole = recorded
    # `python -m benchmarks.truth sweep` cuts at each of them.
    offsets = range(0, len(stream), 1 if EVERY_WAY else SURFACE_STRIDE)
    counts = await sweep((stream, history), whole, SURFACES[surface], kind, offsets)
    # Who does not know what was before may be told that nobody knows, before the answer has begun.
    allowed = {"whole", "unknown"} if kind == "no baseline" else {"whole"}
    assert set(counts) <= allowed
    assert counts["whole"] > len(offsets) // 2


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
