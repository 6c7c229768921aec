"""HTTP/2 with a client of the user's: several turns on one connection, of which one is left early."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import h2.config
import h2.connection
import h2.events
import httpx
import pytest

from chat_sessions import LlamaCloudChat, Stop, TextDelta, Timeouts, Usage
from chat_sessions.core.events import dump_event
from tests.faces import do
from tests.http.test_routes import client_side, server_side

STOP = Stop(usage=Usage(), is_error=False)


class Service:
    """Begins each answer at once, and ends all of them when it is told to."""

    def __init__(self) -> None:
        self.connections: list[asyncio.StreamWriter] = []
        self._open: list[tuple[h2.connection.H2Connection, int]] = []

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        writer.write(state.data_to_send())
        with suppress(OSError):
            while data := await reader.read(65536):
                for event in state.receive_data(data):
                    if isinstance(event, h2.events.StreamEnded):
                        number = event.stream_id
                        state.send_headers(number, [(":status", "200"), ("content-type", "text/event-stream")])
                        state.send_data(number, sse(TextDelta(content="Hel")))
                        self._open.append((state, number))
                writer.write(state.data_to_send())

    def end(self) -> None:
        for state, number in self._open:
            state.send_data(number, sse(TextDelta(content="lo"), STOP), end_stream=True)
        self.connections[0].write(self._open[0][0].data_to_send())


def sse(*events: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(dump_event(event)).encode() + b"\n\n" for event in events)


@pytest.fixture
async def service() -> AsyncIterator[tuple[Service, str]]:
    made = Service()
    server = await asyncio.start_server(made.converse, "127.0.0.1", 0, ssl=server_side("h2"))
    yield made, f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for writer in made.connections:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize("way", ["closed", "dropped"])
async def test_a_turn_that_is_left_early_leaves_those_beside_it_on_the_connection_alone(
    service: tuple[Service, str], face: str, way: str
) -> None:
    answers, url = service
    with httpx.Client(http2=True, verify=client_side()) as http:
        async with httpx.AsyncClient(http2=True, verify=client_side()) as async_http:
            chat = LlamaCloudChat(
                api_key="k",
                base_url=url,
                index_ids=["i"],
                http_client=http,
                async_http_client=async_http,
                timeouts=Timeouts(recovery=0),
            )
            client: Any = chat if face == "sync" else chat.aio

            async def begun(session_id: str) -> Any:
                stream = client.stream(session_id, "q", index_ids=["i"], baseline=False)
                first = asyncio.to_thread(next, stream) if face == "sync" else anext(stream)
                assert await first == TextDelta(content="Hel")
                return stream

            left, other = await begun("ses-1"), await begun("ses-2")
            if way == "closed":
                await do(left.close())
            del left
            # Whatever leaving one has asked the loop for is done after a turn that is asked for later.
            await begun("ses-3")
            answers.end()
            result = asyncio.to_thread(other.result) if face == "sync" else other.result()
            assert (await result).text == "Hello"
            assert len(answers.connections) == 1
