"""The key goes to the service that the client was made for, and to nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as Handshake
from websockets.http11 import Response
from websockets.sync.server import ServerConnection, serve

from chat_sessions import ConfigurationError, LlamaCloudChat, OpenHandsChat, Timeouts
from chat_sessions.core.models import ImageAttachment
from tests.faces import do, every
from tests.wire_server import Connection, Request, WireServer

KEY = "llx-THE-KEY-0123456789"
SESSION = "0b9a2d63-54d7-4c2b-9d36-6f3f4f0c8f11"
SUMMARY = {"session_id": "ses-1", "last_updated_at": "2026-04-22T12:34:41Z"}
NOW = Timeouts(recovery=0)


@pytest.fixture
def wire() -> Iterator[WireServer]:
    with WireServer() as server:
        yield server


@pytest.fixture
def elsewhere() -> Iterator[WireServer]:
    """Another origin, which would take anything."""
    with WireServer() as server:
        for method in ("GET", "POST", "DELETE"):
            server.on(method, "", lambda _, connection: connection.respond(200, SUMMARY))
        yield server


def make(backend: str, url: str) -> Any:
    if backend == "llama_cloud":
        return LlamaCloudChat(api_key=KEY, base_url=url, index_ids=["i"], max_retries=0, timeouts=NOW)
    return OpenHandsChat(api_key=KEY, base_url=url, llm="m", max_retries=0, timeouts=NOW)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("backend", ["llama_cloud", "openhands"])
@pytest.mark.parametrize("face", ["sync", "async"])
async def test_no_request_follows_a_redirect(
    backend: str, face: str, status: int, wire: WireServer, elsewhere: WireServer
) -> None:
    for method in ("GET", "POST", "DELETE"):
        wire.on(
            method,
            "",
            lambda _, connection: connection.respond(status, None, headers={"Location": f"{elsewhere.url}/x"}),
        )
    with make(backend, wire.url) as chat:
        one = chat if face == "sync" else chat.aio
        calls: list[Callable[[], object]] = [
            one.create,
            lambda: one.retrieve(SESSION),
            lambda: one.delete(SESSION),
            lambda: one.set_title(SESSION, first_message="q"),
            lambda: every(one.list()),
        ]
        if backend == "llama_cloud":
            image = ImageAttachment(attachment_name="a/b.jpg", source_id="s")
            calls += [lambda: one.attachment_url(image), lambda: one.session(SESSION).ask("q")]
        for call in calls:
            with pytest.raises(Exception, match="redirects are not followed"):
                await do(call())
        await chat.aio.close()
    assert elsewhere.requests == []


@pytest.mark.parametrize("backend", ["llama_cloud", "openhands"])
def test_a_location_beside_a_success_is_not_followed(backend: str, wire: WireServer, elsewhere: WireServer) -> None:
    body = SUMMARY if backend == "llama_cloud" else {"id": SESSION, "updated_at": "2026-04-22T12:34:41Z"}
    wire.on("POST", "", lambda _, connection: connection.respond(201, body, headers={"Location": f"{elsewhere.url}/x"}))
    with make(backend, wire.url) as chat:
        assert chat.create().session_id == body.get("session_id", SESSION)
    assert elsewhere.requests == []


def test_a_link_to_an_attachment_is_handed_over_and_not_visited(wire: WireServer, elsewhere: WireServer) -> None:
    link = {"url": f"{elsewhere.url}/image.jpg", "expires_at": "2030-01-01T00:00:00Z"}
    wire.on("GET", "", lambda _, connection: connection.respond(200, link))
    with make("llama_cloud", wire.url) as chat:
        assert chat.attachment_url(ImageAttachment(attachment_name="a.jpg", source_id="s")).url == link["url"]
    assert elsewhere.requests == []


@pytest.mark.parametrize("backend", ["llama_cloud", "openhands"])
def test_a_page_token_is_a_parameter_whatever_is_in_it(backend: str, wire: WireServer, elsewhere: WireServer) -> None:
    token = f"{elsewhere.url}/x?limit=1&project_id=theirs#@\r\nX-Evil: 1"
    name = {"llama_cloud": "next_page_token", "openhands": "next_page_id"}[backend]
    first = {"items": [], name: token}

    def page(request: Request, connection: Connection) -> None:
        connection.respond(200, first if len(wire.requests) == 1 else {"items": []})

    wire.on("GET", "", page)
    with make(backend, wire.url) as chat:
        assert list(chat.list()) == []
    second = parse_qs(urlsplit(wire.requests[1].target).query)
    assert second[name.removeprefix("next_")] == [token]
    assert "project_id" not in second
    assert "x-evil" not in wire.requests[1].headers
    assert elsewhere.requests == []


@pytest.mark.parametrize("session_id", ["//evil.example/x", "@evil.example", "..", "x\r\nHost: evil.example", "?x=1#y"])
def test_an_id_that_the_service_made_up_stays_in_the_path(session_id: str, wire: WireServer) -> None:
    wire.on("POST", "/chat", lambda _, connection: connection.respond(201, {**SUMMARY, "session_id": session_id}))
    with make("llama_cloud", wire.url) as chat:
        session = chat.session()
        with pytest.raises(Exception, match=r"404|as the session id"):
            session.ask("q")
        with pytest.raises(Exception, match=r"404|as the session id"):
            session.summary()
    host = urlsplit(wire.url).netloc
    assert {request.headers["host"] for request in wire.requests} == {host}
    assert all(request.target.startswith("/api/v1/chat") for request in wire.requests)


@pytest.mark.parametrize("backend", ["llama_cloud", "openhands"])
@pytest.mark.parametrize("url", ["https://user:THE-PASSWORD@host.example", "https://user:THE-PASSWORD@host:port/"])
def test_a_password_in_an_address_is_refused_and_not_repeated(backend: str, url: str) -> None:
    with pytest.raises(ConfigurationError, match="base_url") as caught:
        make(backend, url)
    assert "THE-PASSWORD" not in str(caught.value) + repr(caught.value.__cause__)


@contextmanager
def sockets(
    process_request: Callable[[ServerConnection, Handshake], Response | None],
) -> Generator[tuple[str, list[str]]]:
    """A websocket server; gives its address and the frames that it was sent."""
    frames: list[str] = []

    def handle(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                frames.append(str(connection.recv()))

    with serve(handle, "127.0.0.1", 0, process_request=process_request) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.socket.getsockname()[1]}", frames
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("face", ["sync", "async"])
async def test_a_websocket_that_is_redirected_to_another_origin_sends_no_key_there(face: str) -> None:
    asked: list[str] = []

    def accept(_connection: ServerConnection, request: Handshake) -> None:
        asked.append(str(request.headers.items()))

    with sockets(accept) as (other, frames):

        def redirect(connection: ServerConnection, request: Handshake) -> Response:
            response = connection.respond(307, "")
            response.headers["Location"] = f"ws://{other}{request.path}"
            return response

        with sockets(redirect) as (first, _), make("openhands", f"http://{first}") as chat:
            one = chat if face == "sync" else chat.aio
            with pytest.raises(Exception, match=r"redirect|307"):
                await do(one.session(SESSION).ask("q"))
            await chat.aio.close()
    assert frames == []
    assert KEY not in "".join(asked)
