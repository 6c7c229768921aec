"""The page beside a server that this process runs: on a port of its own, in a thread of its own.

It is not mounted among the API's routes. The API listens where it is told, answers under any name and to a key alone;
the page is for one browser on this machine, and its guard knows one host and one port. The page is a client like any
other, so what it can do, the key can.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from chat_sessions.cli.show.frameworks import turn_views
from chat_sessions.llama_cloud import LlamaCloudChat
from chat_sessions.llama_cloud.settings import MOST_INDEXES

if TYPE_CHECKING:
    from fastapi import FastAPI

    from chat_sessions.web.hosting import Listener

__all__ = ["page_over"]


@contextmanager
def page_over(url: str, api_key: str, listener: Listener, indexes: Mapping[str, str]) -> Generator[None]:
    """Serve the page over the Chat API at this address for as long as the block runs.

    `indexes` are the names for people by the ids of indexes. At the end, turns that run are left to the server.
    """
    from chat_sessions.web import create_app

    with LlamaCloudChat(
        api_key=api_key,
        base_url=url,
        index_ids=list(indexes) if len(indexes) <= MOST_INDEXES else None,
        # A proxy from the environment would get this machine's address, and the key.
        trust_env=False,
    ) as client:
        app = create_app(
            client.aio,
            token=listener.token,
            hosts=listener.hosts,
            name=f"Chat API at {url}",
            indexes=indexes,
            turn_views=turn_views(),
        )
        with _served(app, listener):
            yield


@contextmanager
def _served(app: FastAPI, listener: Listener) -> Generator[None]:
    from chat_sessions.web.hosting import serve

    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = Future()

    async def run() -> None:
        serving = asyncio.create_task(serve(app, listener))
        started.set_result((asyncio.get_running_loop(), serving))
        with suppress(asyncio.CancelledError):
            await serving

    thread = threading.Thread(target=lambda: asyncio.run(run()), name="chat-sessions-page", daemon=True)
    thread.start()
    loop, serving = started.result()
    try:
        yield
    finally:
        with suppress(RuntimeError):
            # The loop is closed if the page ended by itself.
            loop.call_soon_threadsafe(serving.cancel)
        thread.join()
