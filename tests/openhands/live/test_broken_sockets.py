"""What a websocket can do that no released server does on demand: a small server of the test does it."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from chat_sessions.core.errors import APIConnectionError, APIError, AuthenticationError, NotFoundError, ProtocolError
from chat_sessions.openhands import OpenHandsChat
from chat_sessions.session import Timeouts
from tests.faces import do

Handler = Callable[[ServerConnection], None]
_ID = str(uuid.uuid4())


@contextmanager
def socket_server(handler: Handler, **options: Any) -> Generator[OpenHandsChat]:
    """A client of a server that has nothing but this websocket."""
    with serve(handler, "127.0.0.1", 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
            with OpenHandsChat(
                base_url=url, api_key="key-1", max_retries=0, max_event_bytes=2000, timeouts=Timeouts(recovery=0)
            ) as chat:
                yield chat
        finally:
            server.shutdown()
            thread.join()


def closes(code: int) -> Handler:
    def handle(connection: ServerConnection) -> None:
        connection.recv()
        connection.close(code)

    return handle


def sends(data: str) -> Handler:
    def handle(connection: ServerConnection) -> None:
        connection.recv()
        connection.send(data)
        for _ in connection:
            pass

    return handle


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (closes(4001), AuthenticationError),
        (closes(4004), NotFoundError),
        (closes(1012), APIConnectionError),
        (sends("no json"), ProtocolError),
        (sends(json.dumps({"type": "sync", "filler": "x" * 3000})), ProtocolError),
    ],
    ids=["unauthorised", "unknown", "restarting", "no json", "too large"],
)
async def test_a_socket_that_fails_before_the_message_is_an_error_and_nothing_is_sent(
    handler: Handler, error: type[Exception], face: str
) -> None:
    with socket_server(handler) as made:
        chat: Any = made if face == "sync" else made.aio
        with pytest.raises(error):
            await do(chat.session(_ID).ask("Hi"))
        await do(chat.close())


@pytest.mark.parametrize("location", ["http://[::1", "ftp://example.test/", "ws://a..b/", None], ids=str)
async def test_an_answer_that_is_no_handshake_and_leads_nowhere_is_an_error_and_nothing_is_sent(
    location: str | None, face: str
) -> None:
    def answer(_connection: ServerConnection, _request: Request) -> Response:
        if location is None:
            return Response(200, "OK", Headers({"Content-Length": "4"}), b"page")
        return Response(302, "Found", Headers({"Location": location, "Content-Length": "0"}))

    with socket_server(closes(1000), process_request=answer) as made:
        chat: Any = made if face == "sync" else made.aio
        with pytest.raises(
            APIError, match=r"WEBSOCKET .*(redirects to an invalid address|cannot be opened|not a websocket)"
        ):
            await do(chat.session(_ID).ask("Hi"))
        await do(chat.close())


def test_the_key_goes_in_the_first_frame_and_nowhere_else(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []

    def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.extend([connection.request.path, dict(connection.request.headers.raw_items()), connection.recv()])
        connection.close(4001)

    caplog.set_level("DEBUG", logger="chat_sessions")
    with socket_server(handle) as chat, pytest.raises(AuthenticationError):
        chat.session(_ID).ask("Hi")
    path, headers, frame = seen
    assert json.loads(frame) == {"type": "auth", "session_api_key": "key-1"}
    assert "key-1" not in path + str(headers)
    assert "key-1" not in "".join(r.getMessage() for r in caplog.records if r.name.startswith("chat_sessions"))
