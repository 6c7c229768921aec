"""A request is sent again only if that does no harm, and the log says so."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from chat_sessions import AuthenticationError, ConflictError, InternalServerError, NotFoundError, RateLimitError
from tests.faces import AnyChat, do
from tests.llama_cloud.test_client import SUMMARY, answer, break_off
from tests.wire_server import WireServer


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_a_read_is_tried_again_after_a_passing_error(chat: AnyChat, wire: WireServer, status: int) -> None:
    wire.on("GET", "/summary", answer(status), answer(status), answer(200, SUMMARY))
    assert (await do(chat.get_summary("ses-1"))).session_id == "ses-1"
    assert len(wire.requests) == 3


@pytest.mark.usefixtures("no_waiting")
async def test_a_read_is_tried_again_after_a_broken_connection(chat: AnyChat, wire: WireServer) -> None:
    wire.on("GET", "/summary", break_off, answer(200, SUMMARY))
    assert (await do(chat.get_summary("ses-1"))).session_id == "ses-1"


@pytest.mark.usefixtures("no_waiting")
async def test_a_read_that_keeps_failing_raises_its_last_error(chat: AnyChat, wire: WireServer) -> None:
    wire.on("GET", "/summary", answer(503, {"detail": "down"}, x_request_id="req-7"))
    with pytest.raises(InternalServerError, match="down") as caught:
        await do(chat.get_summary("ses-1"))
    assert caught.value.request_id == "req-7"
    assert len(wire.requests) == 3


@pytest.mark.parametrize(("status", "error"), [(401, AuthenticationError), (409, ConflictError), (404, NotFoundError)])
async def test_a_refusal_is_not_tried_again(
    chat: AnyChat, wire: WireServer, status: int, error: type[Exception]
) -> None:
    wire.on("GET", "/summary", answer(status, {"detail": "no"}))
    with pytest.raises(error):
        await do(chat.get_summary("ses-1"))
    assert len(wire.requests) == 1


@pytest.mark.usefixtures("no_waiting")
async def test_a_create_is_not_sent_again_after_an_error_that_may_have_created_it(
    chat: AnyChat, wire: WireServer
) -> None:
    wire.on("POST", "/api/v1/chat", answer(502))
    with pytest.raises(InternalServerError):
        await do(chat.create())
    assert len(wire.requests) == 1


@pytest.mark.usefixtures("no_waiting")
async def test_a_create_is_sent_again_after_a_refusal_for_now(chat: AnyChat, wire: WireServer) -> None:
    wire.on("POST", "/api/v1/chat", answer(429), answer(201, SUMMARY))
    assert (await do(chat.create())).session_id == "ses-1"


async def test_a_service_that_asks_for_no_wait_is_not_asked_again_at_once(
    chat: AnyChat, wire: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    here = threading.get_ident()

    def pause(seconds: float, go_on: Callable[[float], None] = time.sleep) -> None:
        # Another thread of this process may sleep in a loop.
        (waits.append if threading.get_ident() == here else go_on)(seconds)

    async def sleep(seconds: float, go_on: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        if threading.get_ident() == here:
            waits.append(seconds)
        await go_on(0 if threading.get_ident() == here else seconds)

    monkeypatch.setattr(time, "sleep", pause)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    past = "Wed, 21 Oct 2015 07:28:00 GMT"
    wire.on("POST", "/messages/stream", *(answer(429, None, retry_after=wait) for wait in ("0", "0", past)))
    with pytest.raises(RateLimitError):
        await do(chat.session("ses-1", index_ids=["i"]).ask("q"))
    assert len(wire.posts()) == 3
    assert len([wait for wait in waits if wait >= 0.5]) == 2


async def test_a_wait_of_more_than_a_minute_is_left_to_the_caller(chat: AnyChat, wire: WireServer) -> None:
    wire.on("GET", "/summary", answer(429, {"detail": "later"}, retry_after="3600"))
    with pytest.raises(RateLimitError) as caught:
        await do(chat.get_summary("ses-1"))
    assert caught.value.retry_after == 3600
    assert len(wire.requests) == 1


def test_a_retry_prints_nothing_where_no_logging_is_set_up(wire: WireServer) -> None:
    code = (
        "import sys; from chat_sessions import LlamaCloudChat\n"
        "print(LlamaCloudChat(api_key='k', base_url=sys.argv[1]).get_summary('ses-1').session_id)"
    )
    wire.on("GET", "/summary", answer(429, None, retry_after="0"), answer(200, SUMMARY))
    done = subprocess.run([sys.executable, "-c", code, wire.url], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("ses-1\n", "")


async def test_a_retry_is_logged_with_what_is_sent_again_and_why(
    chat: AnyChat, wire: WireServer, no_waiting: None, caplog: pytest.LogCaptureFixture
) -> None:
    wire.on("GET", "/summary", answer(503, None), answer(429, None, retry_after="7"), answer(200, SUMMARY))
    await do(chat.get_summary("ses-1"))
    lines = [record.getMessage() for record in caplog.records if record.name == "chat_sessions.http"]
    assert [line.partition(" answered ")[0] for line in lines] == ["GET /api/v1/chat/ses-1/summary"] * 2
    assert " 503: " in lines[0]
    assert lines[0].endswith(": sending it again")
    assert " 429: " in lines[1]
    assert lines[1].endswith(": sending it again in 7 s")


async def test_an_error_after_which_nothing_is_sent_again_is_not_logged_as_a_retry(
    chat: AnyChat, wire: WireServer, no_waiting: None, caplog: pytest.LogCaptureFixture
) -> None:
    wire.on("GET", "/summary", answer(404, None))
    with pytest.raises(NotFoundError):
        await do(chat.get_summary("ses-1"))
    assert caplog.records == []
    wire.on("GET", "/summary", answer(503, None))
    with pytest.raises(InternalServerError):
        await do(chat.get_summary("ses-1"))
    assert len([record for record in caplog.records if record.name == "chat_sessions.http"]) == 2
