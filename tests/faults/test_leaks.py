"""Nothing is left behind: no socket, no task, no thread, however a stream ends."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from chat_sessions import ChatSessionsError, LlamaCloudChat, LocalServer, RateLimitError
from chat_sessions.server.faults import (
    Cut,
    Fault,
    Fine,
    HtmlPage,
    Http10,
    LostAnswer,
    NotJson,
    Refuse,
    Split,
    Stall,
    WrongContentType,
)
from tests.faces import do, entered, some
from tests.faults.playback import QUESTION, Playback, record
from tests.faults.speaker import SHORT, Speaker

STREAMS = int(os.environ.get("CHAT_SESSIONS_STREAMS", "200"))


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Playback]:
    (tmp_path / "note.md").write_text("# Note\n\nIt rose.\n")
    with LocalServer(indexes={"idx-docs": tmp_path}, agent=Speaker(SHORT)) as server:
        recorded = record(server)
    with Playback(*recorded) as playback:
        yield playback


def sockets() -> set[str]:
    """The sockets that this process has open, by their inode."""
    found: set[str] = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(str(entry.readlink()))
    return {name for name in found if name.startswith("socket:")}


def some_fault(choose: random.Random) -> Fault:
    at = choose.randrange(1500)
    return choose.choice(
        [
            Fine(),
            Cut(at_byte=at, how="reset"),
            Cut(at_byte=at, how="fin"),
            Cut(at_byte=at, how="clean"),
            LostAnswer(at_byte=at % 100),
            Refuse(409),
            Refuse(500),
            HtmlPage(),
            WrongContentType(),
            NotJson(at_event=at % 20),
            Http10(),
            Split(at + 1),
            Stall(at_byte=at, seconds=0.001),
        ]
    )


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to count sockets")
@pytest.mark.timeout(300)
async def test_streams_that_end_in_any_way_leave_no_socket_task_or_thread(played: Playback) -> None:
    choose = random.Random(7)
    threads, tasks = set(threading.enumerate()), asyncio.all_tasks()
    before = sockets()
    with played.client() as client:
        for number in range(STREAMS):
            played.faults.clear()
            played.faults.script(some_fault(choose))
            # A read that is refused for good ends the look-up at once, whatever became of the turn.
            played.faults.script(Refuse(404, on="history"))
            chat = client.aio if number % 2 else client
            stop_after = choose.choice([None, None, 0, 1, 5])

            async def read(chat: object = chat, number: int = number, stop_after: int | None = stop_after) -> None:
                session = (client.aio if chat is client.aio else client).session()
                async with entered(session.stream(QUESTION)) as stream:
                    seen = 0
                    async for _ in some(stream):
                        seen += 1
                        if seen == stop_after:
                            break
                        if stop_after == 0 and chat is client.aio:
                            asyncio.current_task().cancel()  # type: ignore[union-attr]

            with suppress(ChatSessionsError, asyncio.CancelledError):
                await asyncio.create_task(read())
        await client.aio.close()
    await asyncio.to_thread(played.faults.wait_until_left)
    gc.collect()
    assert asyncio.all_tasks() == tasks
    assert {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")} == threads
    # The proxy's own end of a connection may close a moment later than it says.
    assert len(sockets() - before) <= 4


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
