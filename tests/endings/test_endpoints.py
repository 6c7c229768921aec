"""Streams that a web framework reads in worker threads, whose clients leave."""

from __future__ import annotations

import gc
import math
import socket
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as WebRequest
from starlette.responses import StreamingResponse
from starlette.routing import Route

from chat_sessions import LlamaCloudChat, Stop, Text, TextDelta, Usage
from chat_sessions.langchain import SessionChatModel
from chat_sessions.llama_index import SessionChatEngine
from chat_sessions.session import turn_queue
from tests.wire_server import Connection, Request, WireServer

STOP = Stop(usage=Usage(), is_error=False)


def answer_until_left(request: Request, connection: Connection) -> None:
    connection.start_stream()
    if request.json["prompt"] == "first":
        connection.keep_alive(TextDelta(content="It "))
    else:
        connection.events(Text(content="36 months."), STOP)
        connection.end_stream()


@pytest.fixture
def chat() -> Iterator[LlamaCloudChat]:
    session = {"session_id": "ses-1", "last_updated_at": "2026-01-01T00:00:00Z", "index_ids": ["idx-1"], "events": []}
    with WireServer() as wire:
        wire.on("GET", "/ses-1", lambda _, connection: connection.respond(200, session))
        wire.on("POST", "/messages/stream", answer_until_left)
        with LlamaCloudChat(api_key="k", base_url=wire.url, index_ids=["idx-1"]) as opened:
            yield opened


def plain(chat: LlamaCloudChat) -> Iterator[str]:
    with chat.session("ses-1").stream("first") as stream:
        yield from stream.text_deltas()


def with_llama_index(chat: LlamaCloudChat) -> Iterator[str]:
    return SessionChatEngine(client=chat, session_id="ses-1").stream_chat("first").response_gen


def with_langchain(chat: LlamaCloudChat) -> Iterator[str]:
    return (piece.text for piece in SessionChatModel(client=chat, session_id="ses-1").stream("first"))


@pytest.mark.parametrize("pieces", [plain, with_llama_index, with_langchain])
def test_a_sync_endpoint_whose_client_has_left_does_not_hold_the_session(
    monkeypatch: pytest.MonkeyPatch, chat: LlamaCloudChat, pieces: Callable[[LlamaCloudChat], Iterator[str]]
) -> None:
    """Starlette leaves the generator in a reference cycle: whoever asks next has it collected."""
    monkeypatch.setattr(turn_queue, "_KEPT_UNREAD", math.inf)

    def endpoint(_: WebRequest) -> StreamingResponse:
        return StreamingResponse(pieces(chat), media_type="text/plain")

    app = Starlette(routes=[Route("/", endpoint)])
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", lifespan="off"))
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    gc.disable()
    serving.start()
    try:
        with httpx.stream("GET", f"http://127.0.0.1:{listener.getsockname()[1]}", trust_env=False) as response:
            assert next(response.iter_text()) == "It "
        assert chat.session("ses-1").ask("second").text == "36 months."
    finally:
        gc.enable()
        server.should_exit = True
        serving.join()
