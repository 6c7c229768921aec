"""Transports of other makers, injected with a client: what they say of a broken connection is not always true."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial

import httpx
import pytest
from httpx_aiohttp import AiohttpTransport
from pyreqwest.client import ClientBuilder, SyncClientBuilder
from pyreqwest.compatibility.httpx import HttpxTransport, SyncHttpxTransport

from chat_sessions import (
    AsyncLlamaCloudChat,
    AuthenticationError,
    Event,
    LlamaCloudChat,
    RateLimitError,
    Stop,
    Text,
    TextDelta,
    Timeouts,
    TurnOutcomeUnknown,
    Usage,
    UserInput,
)
from chat_sessions.core.events import dump_event
from tests.faces import AnyChat, do
from tests.wire_server import Connection, Request, WireServer

SESSION = {"session_id": "ses-1", "last_updated_at": "2026-04-22T12:34:41", "index_ids": ["i"], "events": []}
TIMEOUTS = Timeouts(recovery=0.3)
ASYNC: dict[str, Callable[[], httpx.AsyncBaseTransport]] = {
    "pyreqwest": lambda: HttpxTransport(ClientBuilder().build()),
    "aiohttp": AiohttpTransport,
}


@pytest.fixture(params=["pyreqwest, sync", *ASYNC])
async def chat(request: pytest.FixtureRequest, wire: WireServer) -> AsyncIterator[AnyChat]:
    wire.on("GET", "/ses-1", lambda _, connection: connection.respond(200, SESSION))
    if request.param in ASYNC:
        async with httpx.AsyncClient(transport=ASYNC[request.param]()) as async_http:
            yield AsyncLlamaCloudChat(api_key="k", base_url=wire.url, timeouts=TIMEOUTS, http_client=async_http)
    else:
        with httpx.Client(transport=SyncHttpxTransport(SyncClientBuilder().build())) as http:
            yield LlamaCloudChat(api_key="k", base_url=wire.url, timeouts=TIMEOUTS, http_client=http)


async def test_a_turn_is_read_through_it(chat: AnyChat, wire: WireServer) -> None:
    def answer(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(TextDelta(content="a"), Stop(usage=Usage(), is_error=False))
        connection.end_stream()

    wire.on("POST", "/messages/stream", answer)
    for _ in range(2):
        assert (await do(chat.stream("ses-1", "q", index_ids=["i"]).result())).text == "a"


async def test_a_turn_whose_connection_is_reset_is_posted_once_whatever_the_transport_calls_that(
    chat: AnyChat, wire: WireServer
) -> None:
    wire.on("POST", "/messages/stream", lambda _, connection: connection.reset())
    with pytest.raises(TurnOutcomeUnknown):
        await do(chat.stream("ses-1", "q", index_ids=["i"]).result())
    assert len(wire.posts()) == 1


async def raise_for_status(response: httpx.Response) -> None:
    response.raise_for_status()


@pytest.mark.usefixtures("no_waiting")
async def test_a_hook_that_raises_for_the_status_changes_nothing(wire: WireServer) -> None:
    wire.on("GET", "/summary", lambda _, connection: connection.respond(401, {"detail": "no"}))
    wire.on("POST", "/messages/stream", lambda _, connection: connection.respond(429, {"detail": "later"}))
    async with httpx.AsyncClient(event_hooks={"response": [raise_for_status]}) as async_http:
        with httpx.Client(event_hooks={"response": [httpx.Response.raise_for_status]}) as http:
            made = LlamaCloudChat(api_key="k", base_url=wire.url, http_client=http, async_http_client=async_http)
            for chat in (made, made.aio):
                with pytest.raises(AuthenticationError):
                    await do(chat.get_summary("ses-1"))
                with pytest.raises(RateLimitError):
                    await do(chat.stream("ses-1", "q", index_ids=["i"], baseline=False).result())
    assert len(wire.posts()) == 6


def respond_with(body: object, _: Request, connection: Connection) -> None:
    connection.respond(200, body)


async def test_a_hook_that_reads_an_answer_that_is_not_encoded_as_it_says_costs_no_turn(wire: WireServer) -> None:
    def answer(_: Request, connection: Connection) -> None:
        connection.respond(200, b"abc", headers={"Content-Type": "text/event-stream", "Content-Encoding": "gzip"})

    stored: list[Event] = [UserInput(content="q"), Text(content="a"), Stop(usage=Usage(), is_error=False)]
    events = [dump_event(event) for event in stored]
    # Counted, and looked up, by each of the two.
    histories = [[], events, events, events * 2]
    wire.on("GET", "/ses-1", *(partial(respond_with, SESSION | {"events": each}) for each in histories))
    wire.on("POST", "/messages/stream", answer)
    async with httpx.AsyncClient(event_hooks={"response": [aread]}) as async_http:
        with httpx.Client(event_hooks={"response": [httpx.Response.read]}) as http:
            made = LlamaCloudChat(api_key="k", base_url=wire.url, http_client=http, async_http_client=async_http)
            for chat in (made, made.aio):
                assert (await do(chat.stream("ses-1", "q", index_ids=["i"]).result())).text == "a"
    assert len(wire.posts()) == 2


BODY = b'data: {"type": "text_delta", "content": "a"}\n\ndata: {"type": "stop", "usage": {}, "is_error": false}\n\n'


def respond(request: httpx.Request) -> httpx.Response:
    if request.method == "GET":
        return httpx.Response(200, json=SESSION)
    return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=BODY)


def stream(request: httpx.Request) -> httpx.Response:
    response = respond(request)
    return httpx.Response(200, headers=response.headers, stream=httpx.ByteStream(response.content))


async def aread(response: httpx.Response) -> None:
    await response.aread()


@pytest.mark.parametrize(("transport", "is_read"), [(respond, False), (stream, True)], ids=["mock", "event hook"])
async def test_a_turn_is_read_though_its_content_is_there_before_its_stream_is(
    transport: Callable[[httpx.Request], httpx.Response], is_read: bool
) -> None:
    mock = httpx.MockTransport(transport)
    async with httpx.AsyncClient(transport=mock) as async_http:
        with httpx.Client(transport=mock) as http:
            if is_read:
                async_http.event_hooks, http.event_hooks = {"response": [aread]}, {"response": [httpx.Response.read]}
            made = LlamaCloudChat(api_key="k", http_client=http, async_http_client=async_http)
            for chat in (made, made.aio):
                turn = await do(chat.stream("ses-1", "q", index_ids=["i"]).result())
                assert turn.text == "a"
