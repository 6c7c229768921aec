"""A stream that is closed while it is being opened: its websocket is closed as well, and nothing is sent."""

from __future__ import annotations

import asyncio
import socket
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.openhands import OpenHandsChat
from chat_sessions.session import Timeouts
from tests.openhands.servers.agent_server import AgentServer
from tests.openhands.servers.model_server import ModelServer

_ID = str(uuid.uuid4())


class Silent:
    """A server that reads what comes and never answers: a websocket's handshake with it does not end."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked = threading.Event()
        self.was_closed = threading.Event()
        self.count = 0
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with near:
                self.count += 1
                while near.recv(65536):
                    self.asked.set()
            self.was_closed.set()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    server = Silent()
    yield server
    server.close()


def _client(url: str) -> OpenHandsChat:
    return OpenHandsChat(base_url=url, api_key="key-1", timeouts=Timeouts(connect=600, first_event=600, recovery=0))


def test_a_handshake_ends_when_its_stream_is_closed_in_another_thread(silent: Silent) -> None:
    with _client(silent.url) as chat, ThreadPoolExecutor(1) as pool:
        stream: Any = chat.session(_ID, baseline=False).stream("Hi")
        opening = pool.submit(stream.open)
        assert silent.asked.wait(30)
        stream.close()
        with pytest.raises(ConfigurationError, match="nothing was sent"):
            opening.result(30)
        assert silent.was_closed.wait(30)
        assert stream.landed is False
    assert silent.count == 1


async def test_a_handshake_ends_when_its_stream_is_closed_in_another_task(silent: Silent) -> None:
    async with _client(silent.url).aio as chat:
        stream: Any = chat.session(_ID, baseline=False).stream("Hi")
        opening = asyncio.create_task(stream.open())
        assert await asyncio.to_thread(silent.asked.wait, 30)
        await stream.close()
        with pytest.raises(ConfigurationError, match="nothing was sent"):
            await opening
        assert await asyncio.to_thread(silent.was_closed.wait, 30)
        assert stream.landed is False
    assert silent.count == 1


async def test_a_task_that_is_cancelled_within_the_handshake_is_cancelled(silent: Silent) -> None:
    async with _client(silent.url).aio as chat:
        stream: Any = chat.session(_ID, baseline=False).stream("Hi")
        opening = asyncio.create_task(stream.open())
        assert await asyncio.to_thread(silent.asked.wait, 30)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert await asyncio.to_thread(silent.was_closed.wait, 30)


@pytest.mark.openhands
async def test_a_stream_that_waits_for_a_run_to_end_is_closed_and_sends_nothing(
    server: AgentServer, model: ModelServer, face: str
) -> None:
    model.hold()
    with server.client(max_retries=0) as chat:
        session_id = chat.create().session_id
        held: Any = chat.session(session_id).stream("HELD please")
        held.open()
        assert model.held.wait(30)
        # Another process: this one's own turns wait for each other before they are opened.
        with server.client(max_retries=0, base_url=server.url.replace("127.0.0.1", "localhost")) as other:
            if face == "sync":
                stream: Any = other.session(session_id, baseline=False).stream("TEXT never")
                with ThreadPoolExecutor(1) as pool:
                    opening = pool.submit(stream.open)
                    _wait_for_clock(stream)
                    stream.close()
                    with pytest.raises(ConfigurationError, match="nothing was sent"):
                        opening.result(30)
            else:
                stream = other.aio.session(session_id, baseline=False).stream("TEXT never")
                task = asyncio.create_task(stream.open())
                await asyncio.to_thread(_wait_for_clock, stream)
                await stream.close()
                with pytest.raises(ConfigurationError, match="nothing was sent"):
                    await task
                await other.aio.close()
        model.release()
        assert held.result().text == "Half of it, and the rest."
        assert [turn.prompt for turn in chat.session(session_id).turns()] == ["HELD please"]


def _wait_for_clock(stream: Any) -> None:
    """Wait until the stream is being opened."""
    tick = threading.Event()
    while stream._clock is None or stream._clock._stop is None:
        tick.wait(0.01)
