"""A key is in no error, whatever goes wrong."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from chat_sessions import (
    AsyncLlamaCloudChat,
    AsyncOpenHandsChat,
    ConfigurationError,
    LlamaCloudChat,
    LocalServer,
    OpenHandsChat,
    Timeouts,
    UnprocessableEntityError,
)
from chat_sessions.http.calls import frameless
from chat_sessions.http.secrets import secrets_in, text_without_secrets, without_secrets
from chat_sessions.langchain import SessionChatModel
from chat_sessions.server import create_app
from chat_sessions.server import serve as serve_chat
from tests.faces import do
from tests.security.hunt import chain, own_frames, rich_traceback, shown
from tests.security.key_holders import (
    KEY,
    MODEL_KEY,
    SECRETS,
    SESSION,
    TOKEN,
    Call,
    Maker,
    assert_hidden,
    llama_cloud,
    openhands,
)
from tests.wire_server import Connection, Request, WireServer


def test_what_a_hunt_for_secrets_finds_is_there() -> None:
    """The hunter itself: it looks into causes, notes and the local variables of all frames but the tests'."""
    with pytest.raises(ValueError, match="Expecting value") as caught:
        json.loads("[" + KEY)
    assert KEY in shown(caught.value)
    assert KEY in rich_traceback(caught.value)
    error = RuntimeError("no")
    error.__cause__ = caught.value
    assert KEY in shown(error)
    frameless(error)
    caught.value.doc = ""  # type: ignore[attr-defined]
    assert KEY not in shown(error)
    error = RuntimeError("no")
    error.add_note(KEY)
    assert KEY in shown(error)


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"max_retries": -1},
        {"max_retries": "many"},
        {"max_event_bytes": 0},
        {"base_url": "ftp://nowhere"},
        {"api_key": KEY + " and more"},
        {"timeouts": 5, "max_retries": -1},
    ],
    ids=str,
)
def test_a_client_that_cannot_be_made_shows_no_key_in_any_frame(make: Maker, face: str, wrong: dict[str, Any]) -> None:
    kind: Any = {
        ("llama_cloud", "sync"): LlamaCloudChat,
        ("llama_cloud", "async"): AsyncLlamaCloudChat,
        ("openhands", "sync"): OpenHandsChat,
        ("openhands", "async"): AsyncOpenHandsChat,
    }[make.__name__, face]
    secret: dict[str, Any] = (
        {"headers": {"X-Tunnel": TOKEN}}
        if make is llama_cloud
        else {
            "llm": {"model": "m", "api_key": MODEL_KEY},
            "agent": {"mcp_config": {"token": TOKEN}},
            "tools": [{"name": "search", "params": {"api_key": TOKEN}}],
            "conversation": {"secrets": {"DEPLOY": TOKEN}},
        }
    )
    with pytest.raises((ConfigurationError, TypeError)) as caught:
        kind(**({"api_key": KEY, "base_url": "http://127.0.0.1:1"} | secret | wrong))
    assert own_frames(caught.value) >= 1
    assert_hidden(caught.value)
    assert not [secret for secret in SECRETS if secret in rich_traceback(caught.value)]


@pytest.mark.parametrize(
    "wrong",
    [{"llm": {"api_key": MODEL_KEY}}, {"tools": "terminal", "llm": {"model": "m", "api_key": MODEL_KEY}}],
    ids=["a model without a name", "tools that are no list"],
)
def test_settings_of_a_model_that_are_refused_are_not_shown(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        OpenHandsChat(api_key=KEY, base_url="http://127.0.0.1:1", **wrong)
    assert_hidden(caught.value)


@pytest.mark.parametrize("value", [f"{TOKEN}\nX-Other: 1", f"{TOKEN}é"])
def test_a_header_that_cannot_be_sent_is_in_no_frame(value: str) -> None:
    with pytest.raises(ConfigurationError, match="X-Tunnel") as caught:
        LlamaCloudChat(api_key=KEY, headers={"X-Tunnel": value})
    assert_hidden(caught.value)


def test_a_conversation_without_an_agent_is_refused_without_its_secrets() -> None:
    chat = OpenHandsChat(base_url="http://127.0.0.1:1", api_key=KEY, conversation={"secrets": {"DEPLOY": TOKEN}})
    with pytest.raises(ConfigurationError, match="no agent") as caught:
        chat.create()
    assert_hidden(caught.value)


def test_what_cannot_be_written_as_a_request_is_named_without_the_request() -> None:
    with (
        llama_cloud("http://127.0.0.1:1") as chat,
        pytest.raises(ConfigurationError, match="cannot be written") as caught,
    ):
        chat.create(index_ids=["half \ud800"])
    assert_hidden(caught.value)
    agent = openhands("http://127.0.0.1:1", conversation={"tags": {"half": "\ud800"}})
    with agent, pytest.raises(ConfigurationError, match="cannot be written") as caught:
        agent.create()
    assert_hidden(caught.value)


@pytest.mark.parametrize("status", [200, 400, 401, 422, 500])
@pytest.mark.parametrize("form", ["json", "page"])
@pytest.mark.parametrize("face", ["sync", "async"])
async def test_an_answer_that_repeats_the_request_is_told_without_its_secrets(
    make: Maker, wire: WireServer, status: int, form: str, face: str
) -> None:
    def repeat(request: Request, connection: Connection) -> None:
        said = f"{request.headers} {request.body.decode()}"
        connection.respond(
            status,
            {"detail": [{"msg": said, "input": said}]} if form == "json" else f"<p>{said}".encode(),
            headers={"x-request-id": said.replace("\n", " ")},
        )

    for method in ("GET", "POST"):
        wire.on(method, "", repeat)
    with make(wire.url) as chat:
        one = chat if face == "sync" else chat.aio
        calls: list[Call] = [one.create, partial(one.get_summary, SESSION), partial(one.retrieve, SESSION)]
        for call in calls:
            with pytest.raises(Exception, match="answered") as caught:
                await do(call())
            # What the service itself sent may stand in a local variable, as it was sent.
            assert_hidden(caught.value, locals_too=status != 200)
        await chat.aio.close()
    sent = str([(request.headers, request.body) for request in wire.requests])
    assert KEY in sent
    assert TOKEN in sent


@pytest.mark.parametrize("face", ["sync", "async"])
async def test_a_model_that_is_given_for_a_title_alone_is_not_shown(wire: WireServer, face: str) -> None:
    wire.on("GET", SESSION, lambda _, connection: connection.respond(200, {"id": SESSION}))
    wire.on("POST", "/generate_title", lambda request, connection: connection.respond(422, {"detail": request.json}))
    with openhands(wire.url, llm=None, conversation=None, agent="profile") as chat:
        one = chat if face == "sync" else chat.aio
        with pytest.raises(UnprocessableEntityError) as caught:
            await do(one.generate_title(SESSION, llm={"model": "m", "api_key": MODEL_KEY}))
        assert_hidden(caught.value)
        assert "[secret]" in str(caught.value.body)
        await chat.aio.close()


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize("how", ["refused", "reset", "no http", "no chunk", "silent", "closed in the answer"])
async def test_a_connection_that_fails_shows_no_key_in_any_frame(make: Maker, face: str, how: str) -> None:
    def fail(request: Request, connection: Connection) -> None:
        if how == "no http":
            connection.send(f"SSH-2.0-OpenSSH {request.headers}\r\n".encode())
        elif how == "no chunk":
            connection.start_stream()
            connection.send(f"{request.headers}\r\n".encode())
        elif how == "silent":
            connection.wait_until_closed()
        elif how == "closed in the answer":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
        connection.reset()

    with WireServer() as wire:
        for method in ("GET", "POST"):
            wire.on(method, "", fail)
        url = wire.url if how != "refused" else f"http://127.0.0.1:{unused_port()}"
        short = {"connect": 0.2, "first_event": 0.2} if how == "silent" else {}
        timeouts = Timeouts(recovery=0, **short)
        with make(url, timeouts=timeouts) as chat:
            one = chat if face == "sync" else chat.aio
            calls: list[Call] = [one.create, partial(one.get_summary, SESSION), partial(one.session(SESSION).ask, "q")]
            for call in calls:
                with pytest.raises(Exception, match=r".") as caught:
                    await do(call())
                assert_hidden(caught.value)
                # The frames of the HTTP library hold the request as it was written.
                for cause in list(chain(caught.value))[1:]:
                    if isinstance(cause, httpx.HTTPError):
                        assert cause.__traceback__ is None
            await chat.aio.close()


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_request_that_could_not_be_written_to_its_end_shows_no_key(make: Maker) -> None:
    """What is left of it stands in the frames of the HTTP library, as bytes."""

    class Broken(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            written = b"\r\n".join(name + b": " + value for name, value in request.headers.raw) + request.read()
            raise httpx.WriteError(f"broken pipe after {len(written)} bytes")

    with httpx.Client(transport=Broken()) as http, make("http://127.0.0.1:1", http_client=http) as chat:
        calls: list[Call] = [chat.create, partial(chat.get_summary, SESSION)]
        for call in calls:
            with pytest.raises(Exception, match="broken pipe") as caught:
                call()
            assert_hidden(caught.value)


@pytest.mark.parametrize(
    "handle",
    [
        lambda connection, frame: connection.send(f"not json {frame}"),
        lambda connection, frame: connection.send(json.dumps([frame])),
    ],
    ids=["no json", "no object"],
)
@pytest.mark.parametrize("face", ["sync", "async"])
async def test_a_websocket_that_repeats_the_key_is_told_without_it(
    handle: Callable[[ServerConnection, str], None], face: str
) -> None:
    frames: list[str] = []

    def answer(connection: ServerConnection) -> None:
        frames.append(str(connection.recv()))
        handle(connection, frames[-1])
        with suppress(ConnectionClosed):
            connection.recv()

    with serve(answer, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with openhands(f"http://127.0.0.1:{server.socket.getsockname()[1]}") as chat:
                one = chat if face == "sync" else chat.aio
                with pytest.raises(Exception, match=r"\[secret\]") as caught:
                    await do(one.session(SESSION).ask("q"))
                assert_hidden(caught.value, locals_too=False)
                await chat.aio.close()
        finally:
            server.shutdown()
            thread.join()
    assert KEY in frames[0]


def test_a_misspelt_argument_of_an_adapter_is_refused_without_the_key() -> None:
    with pytest.raises(ConfigurationError, match="did you mean api_key") as caught:
        SessionChatModel(api_kye=KEY)  # type: ignore[call-arg]
    assert_hidden(caught.value)


@pytest.mark.parametrize("wrong", [{"indexes": {}}, {"indexes": "docs"}, {"attachment_lifetime": 0}])
def test_an_application_that_cannot_be_made_shows_no_key(wrong: dict[str, Any]) -> None:
    for key in (KEY, SecretStr(KEY)):
        with pytest.raises(ConfigurationError) as caught:
            create_app(**({"indexes": {"idx-docs": "docs"}, "api_key": key} | wrong))
        assert_hidden(caught.value)
        with pytest.raises(ConfigurationError) as caught:
            LocalServer(**({"indexes": {"idx-docs": "docs"}, "api_key": key} | wrong))
        assert_hidden(caught.value)
        with pytest.raises(ConfigurationError) as caught:
            serve_chat(**({"indexes": {"idx-docs": "docs"}, "api_key": key, "port": 0} | wrong))
        assert_hidden(caught.value)
    with pytest.raises(ConfigurationError, match="no HTTP header can carry") as caught:
        create_app(indexes={"idx-docs": "docs"}, api_key=f"{KEY} é")
    assert_hidden(caught.value)


def test_secrets_are_the_words_under_names_that_say_so() -> None:
    found = secrets_in(
        {
            "model": "openai/gpt-long-name",
            "api_key": "sk-0123456789",
            "temperature": 0.5,
            "mcp_config": {
                "servers": [{"headers": {"X-Anything": "Bearer abcdefgh1"}, "url": "https://public.example"}]
            },
            "secrets": {"NAME": ["deploy-me-now", "short"]},
        }
    )
    assert [secret.get_secret_value() for secret in found] == ["deploy-me-now", "sk-0123456789", "abcdefgh1"]


def test_a_secret_is_found_as_it_is_and_as_json_writes_it() -> None:
    secrets = [SecretStr('k"ey\\1'), SecretStr("abc")]
    assert without_secrets(b'k"ey\\1 and k\\"ey\\\\1 and abc', secrets) == b"[secret] and [secret] and abc"
    assert text_without_secrets("half \ud800 of abcd", [SecretStr("abcd")]) == "half \ud800 of [secret]"
