"""Nothing is left behind: no socket, no task, no thread, however a stream ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from chat_sessions import LlamaCloudChat, LocalServer, RateLimitError
from chat_sessions.testing import Refuse
from tests.faces import do, entered, some
from tests.faults.leaks import run_streams
from tests.faults.playback import QUESTION, Playback, record
from tests.faults.speaker import SHORT, Speaker

STREAMS = 1000


@pytest.fixture
def recording(tmp_path: Path) -> tuple[bytes, bytes]:
    (tmp_path / "note.md").write_text("# Note\n\nIt rose.\n")
    with LocalServer(indexes={"idx-docs": tmp_path}, agent=Speaker(SHORT)) as server:
        return record(server)


@pytest.fixture
def played(recording: tuple[bytes, bytes]) -> Iterator[Playback]:
    with Playback(*recording) as playback:
        yield playback


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to count sockets")
@pytest.mark.timeout(300)
async def test_streams_that_end_in_any_way_leave_no_socket_task_thread_or_warning(
    recording: tuple[bytes, bytes],
) -> None:
    left = await run_streams(recording, STREAMS)
    assert (left.sockets, left.tasks, left.threads, left.warnings) == (0, 0, 0, [])
    assert {"whole", "left", "CancelledError", "ConflictError"} <= left.ends.keys()


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.timeout(300)
async def test_a_pool_of_two_connections_survives_200_refusals_and_200_early_breaks(
    played: Playback, face: str
) -> None:
    limits = httpx.Limits(max_connections=2)
    played.faults.script(Refuse(429, times=200))
    address = played.client().base_url
    async with httpx.AsyncClient(limits=limits) as async_http:
        with httpx.Client(limits=limits) as http:
            client = LlamaCloudChat(
                api_key="k",
                base_url=address,
                index_ids=["idx-docs"],
                http_client=http,
                async_http_client=async_http,
                max_retries=0,
            )
            chat = client if face == "sync" else client.aio
            for _ in range(200):
                with pytest.raises(RateLimitError):
                    await do(chat.session().ask(QUESTION))
            for _ in range(200):
                async with entered(chat.session().stream(QUESTION)) as stream:
                    async for _ in some(stream):
                        break
            assert (await do(chat.session().ask(QUESTION))).is_complete
    assert len(played.faults.prompts) == 401
    await asyncio.to_thread(played.faults.wait_until_left)
