"""The page for a service, and the page for a server in this process, on a port and in a thread of its own.

The second is not mounted among the API's routes: the API may listen on any address and answers whoever has the key,
while the page is for one browser on this machine, and its guard knows one host and one port. The page is a client like
any other, so it can do nothing that the key cannot.
"""

from __future__ import annotations

import asyncio
import shlex
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from chat_sessions.cli.show.frameworks import turn_views
from chat_sessions.cli.where.folders import Folders, data_folder, shortest
from chat_sessions.cli.where.openhands import waiting_runs
from chat_sessions.cli.where.service import Service
from chat_sessions.core.events import Session
from chat_sessions.llama_cloud import LlamaCloudChat
from chat_sessions.llama_cloud.settings import MOST_INDEXES

if TYPE_CHECKING:
    from fastapi import FastAPI

    from chat_sessions.openhands import AsyncOpenHandsChat, ConfirmAction
    from chat_sessions.web.hosting import Listener
    from chat_sessions.web.live.sessions import Confirmations

__all__ = ["PAGE_PORT", "page_app", "page_over"]

PAGE_PORT = 8770
"""The default port of `chat-sessions ui`."""


def page_app(service: Service, listener: Listener, confirmations: Confirmations | None = None) -> FastAPI:
    """Make the page for a service. Its client asks `confirmations` for permission."""
    from chat_sessions.web import create_app

    agent = service.openhands.aio if service.openhands is not None else None
    return create_app(
        service.client.aio,
        token=listener.token,
        hosts=listener.hosts,
        name=service.name,
        indexes=_index_names(service),
        confirmations=confirmations,
        turn_views=turn_views(),
        turn_lock=lambda: _held(service.lock),
        interrupt=agent.interrupt if agent is not None else None,
        rename=agent.rename if agent is not None else None,
        pending=_pending if agent is not None else None,
        respond=partial(_respond, agent) if agent is not None else None,
        index_name=service.index_name,
        elsewhere=_elsewhere(service) if service.is_local else None,
    )


@contextmanager
def page_over(url: str, api_key: str, listener: Listener, indexes: Mapping[str, str]) -> Generator[None]:
    """Serve the page for the Chat API at this address during the block. Turns that still run are left to the server.

    `indexes` maps ids of indexes to the names shown.
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
            # The loop is closed if the page has ended already.
            loop.call_soon_threadsafe(serving.cancel)
        thread.join()


def _pending(session: Session) -> list[ConfirmAction]:
    """List the actions with which a stored conversation waits for permission."""
    from chat_sessions.openhands import ConfirmAction

    return [ConfirmAction(run.call_id, run.name, run.arguments) for run in waiting_runs(session)]


async def _respond(agent: AsyncOpenHandsChat, session_id: str, answer: bool | str) -> None:
    """Allow or refuse them."""
    reason = answer if isinstance(answer, str) else None
    await agent.respond_to_confirmation(session_id, accept=answer is True, reason=reason)


def _index_names(service: Service) -> dict[str, str]:
    """Return the indexes that a new session may ask, with the names shown for them."""
    index_ids = service.index_ids or ()
    if not service.is_local:
        return {index_id: index_id for index_id in index_ids}
    folders = Folders(data_folder())
    return {index_id: shortest(Path(folders.name_of(index_id))) for index_id in index_ids}


def _elsewhere(service: Service) -> Callable[[Sequence[str]], str | None]:
    """Return a function that says how to continue a session over folders that the page does not serve."""
    served = frozenset(service.index_ids or ())

    def say(index_ids: Sequence[str]) -> str | None:
        if served.intersection(index_ids):
            return None
        folders = Folders(data_folder())
        names = shlex.join(map(folders.name_of, index_ids))
        return f"This page does not serve the documents of this session. To continue it: chat-sessions ui {names}"

    return say


@asynccontextmanager
async def _held(lock: Callable[[], AbstractContextManager[None]]) -> AsyncGenerator[None]:
    """Hold a blocking, thread-bound lock in a thread of its own."""
    manager = lock()
    thread = ThreadPoolExecutor(1, thread_name_prefix="turn-lock")
    try:
        entering = asyncio.get_running_loop().run_in_executor(thread, manager.__enter__)
        await asyncio.shield(entering)
        yield
    finally:
        # Queued after `__enter__`, which may still be waiting if the turn was stopped.
        thread.submit(manager.__exit__, None, None, None)
        thread.shutdown(wait=False)
