"""The key is in no error, whatever a service or a proxy sends back."""

from __future__ import annotations

import copy
import json
import traceback
from collections.abc import Callable

import httpx
import pytest

from chat_sessions import (
    APIConnectionError,
    APIStatusError,
    ChatSessionsError,
    ConfigurationError,
    LlamaCloudChat,
    ProtocolError,
    Timeouts,
    TurnFailed,
)
from chat_sessions.http.calls import retry_delay, transport_error
from chat_sessions.http.connection.exchange import Exchange, remaining
from chat_sessions.http.secrets import without_secrets
from chat_sessions.llama_cloud.wire import summary_call
from tests.faces import do
from tests.llama_cloud.test_client import SUMMARY, answer
from tests.wire_server import Connection, Request, WireServer

KEY = 'llx-"k3y"'
TOKEN = "tunnel-t0ken"


def shown(error: BaseException) -> str:
    """All that a log or a console could show of it."""
    return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))


@pytest.mark.parametrize("status", [200, 401, 502])
@pytest.mark.parametrize("form", ["json", "page"])
@pytest.mark.parametrize("face", ["sync", "async"])
async def test_an_answer_that_repeats_the_requests_headers_is_told_without_what_is_secret_in_them(
    wire: WireServer, status: int, form: str, face: str
) -> None:
    def repeat(request: Request, connection: Connection) -> None:
        said = f"{request.headers['authorization']} {request.headers['x-tunnel']}"
        connection.respond(status, {"detail": said} if form == "json" else f"<html>{said}".encode())

    wire.on("GET", "/summary", repeat)
    wire.on("POST", "/messages/stream", repeat)
    headers = {"X-Tunnel": f"Basic {TOKEN}"}
    with LlamaCloudChat(api_key=KEY, base_url=wire.url, headers=headers, max_retries=0) as chat:
        one = chat if face == "sync" else chat.aio
        session = one.session("ses-1", index_ids=["i"])
        calls: list[Callable[[], object]] = [lambda: one.get_summary("ses-1"), lambda: session.ask("q")]
        # A turn that a 502 answered is looked up in its session.
        for call in calls[: 1 if status == 502 else 2]:
            with pytest.raises((APIStatusError, ProtocolError), match=r"Bearer \[secret\] Basic \[secret\]") as caught:
                await do(call())
            assert "k3y" not in shown(caught.value)
            assert "t0ken" not in shown(caught.value)


FAILED = json.dumps({"type": "stop", "usage": {}, "is_error": True, "error": f"401 for {KEY}"})


@pytest.mark.parametrize(
    ("said", "kind", "is_live"),
    [
        (f"oops {KEY}", ProtocolError, True),
        (json.dumps({"type": "stop", "usage": {}, "is_error": KEY}), ProtocolError, True),
        (FAILED, TurnFailed, True),
        (FAILED, TurnFailed, False),
    ],
)
@pytest.mark.parametrize("face", ["sync", "async"])
async def test_an_event_that_repeats_the_key_is_told_without_it(
    wire: WireServer, said: str, kind: type[ChatSessionsError], face: str, *, is_live: bool
) -> None:
    def stream(_: Request, connection: Connection) -> None:
        connection.start_stream()
        if is_live:
            connection.chunk(f"data: {said}\n\n".encode())
        connection.end_stream()

    def history(_: Request, connection: Connection) -> None:
        has_posted = len(wire.posts()) > 0
        events = [{"type": "user_input", "content": "q"}, json.loads(FAILED)] if has_posted else []
        connection.respond(200, SUMMARY | {"events": events})

    wire.on("POST", "/messages/stream", stream)
    wire.on("GET", "/ses-1", history)
    with LlamaCloudChat(api_key=KEY, base_url=wire.url, timeouts=Timeouts(recovery=0 if is_live else 20)) as chat:
        one = chat if face == "sync" else chat.aio
        with pytest.raises(kind, match=r"\[secret\]") as caught:
            await do(one.session("ses-1", index_ids=["i"]).ask("q"))
        assert "k3y" not in shown(caught.value)


async def test_a_page_token_that_is_the_key_is_not_quoted(wire: WireServer) -> None:
    page = {"items": [SUMMARY], "next_page_token": KEY}
    wire.on("GET", "/api/v1/chat", lambda _, connection: connection.respond(200, page))
    with LlamaCloudChat(api_key=KEY, base_url=wire.url) as chat:
        with pytest.raises(ProtocolError, match="the same page token twice") as caught:
            list(chat.list())
        assert "k3y" not in shown(caught.value)


def test_words_too_short_to_be_secret_are_left_in_what_an_error_says() -> None:
    settings = LlamaCloudChat(api_key="k", headers={"X-Team": "blue"})._settings
    assert without_secrets(b"k blue", settings.secrets) == b"k blue"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"X-Team": "secret\nmore"}, r"headers\['X-Team'\] cannot be sent"),
        ({"X-Team": "secrét"}, r"headers\['X-Team'\] cannot be sent"),
        ({"X-Team": 5}, r"headers\['X-Team'\] cannot be sent"),
        ({"X Team": "secret"}, r"'X Team' is not a header name"),
        ({"": "secret"}, r"'' is not a header name"),
        ({5: "secret"}, r"5 is not a header name"),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_by_its_name_alone(headers: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        LlamaCloudChat(api_key="k", headers=headers)
    assert "secr" not in str(caught.value)


def test_white_space_around_a_headers_value_is_no_part_of_it() -> None:
    assert LlamaCloudChat(api_key="k", headers={"X-A": " a b\t\n"})._settings.headers == (("X-A", "a b"),)


def test_a_request_that_breaks_the_rules_of_http_is_not_sent_again_and_not_quoted() -> None:
    call, cause = summary_call("ses-1"), httpx.LocalProtocolError("Illegal header value b'secret'")
    exchange = Exchange("GET", answer=remaining(1), connect=1, is_own=True)
    error = transport_error(call, cause, exchange, "http://x")
    error.__cause__ = cause
    assert isinstance(error, APIConnectionError)
    assert "secret" not in str(error)
    assert retry_delay(call, error) is False


@pytest.mark.parametrize("wrong", [{"max_retries": -1}, {"base_url": "ftp://x"}])
def test_a_key_from_the_environment_is_in_no_frame_of_an_error(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, object]
) -> None:
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", "llx-secret")
    with pytest.raises(ConfigurationError) as caught:
        LlamaCloudChat(**wrong)  # type: ignore[arg-type]
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)][1:]
    assert frames
    for frame in frames:
        assert "llx-secret" not in repr({name: value for name, value in frame.f_locals.items() if name != "self"})


async def test_a_copied_client_has_the_same_settings_key_included(wire: WireServer) -> None:
    wire.on("GET", "/summary", answer(200, SUMMARY))
    with httpx.Client(headers={"X-Mine": "1"}) as mine:
        async with httpx.AsyncClient(headers={"X-Mine": "2"}) as twin:
            original = LlamaCloudChat(api_key="key-1", base_url=wire.url, http_client=mine, async_http_client=twin)
            for copied in (copy.copy(original), copy.deepcopy(original)):
                copied.get_summary("ses-1")
                await copied.aio.get_summary("ses-1")
            for face in (copy.copy(original.aio), copy.deepcopy(original.aio)):
                await face.get_summary("ses-1")
    assert {request.headers["authorization"] for request in wire.requests} == {"Bearer key-1"}
    assert [request.headers["x-mine"] for request in wire.requests] == ["1", "2", "1", "2", "2", "2"]
