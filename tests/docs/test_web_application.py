"""The web application of the documentation, with real clients."""

from __future__ import annotations

import runpy
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chat_sessions import LocalServer
from chat_sessions.testing import Cut, Refuse

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server() -> Any:
    with LocalServer(indexes={"idx-docs": ROOT / "examples" / "documents"}, faults=[]) as running:
        yield running


@pytest.fixture
async def browser(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", server.api_key)
    monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", server.url)
    app = runpy.run_path(str(ROOT / "examples" / "web_application.py"))["app"]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
        yield client


async def a_session(browser: httpx.AsyncClient) -> str:
    created = await browser.post("/sessions")
    assert created.status_code == 201
    session_id: str = created.json()["session_id"]
    return session_id


async def test_it_streams_an_answer_and_answers_whole_in_the_same_session(browser: httpx.AsyncClient) -> None:
    session = f"/sessions/{await a_session(browser)}"
    streamed = await browser.post(f"{session}/stream", json={"question": "How long is the warranty?"})
    assert "36 months" in streamed.text
    whole = (await browser.post(f"{session}/answer", json={"question": "How long is the warranty?"})).json()
    assert "36 months" in whole["text"]
    assert "support-faq.txt" in whole["files"]
    assert (await browser.delete(session)).status_code == 204
    gone = await browser.post(f"{session}/stream", json={"question": "And now?"})
    assert (gone.status_code, gone.json()) == (404, {"detail": "NotFoundError"})


@pytest.mark.parametrize(("refusal", "shown"), [(409, 409), (401, 502), (403, 502)])
@pytest.mark.parametrize("way", ["stream", "answer"])
async def test_a_refusal_of_the_service_is_a_status_of_the_application(
    browser: httpx.AsyncClient, server: LocalServer, way: str, refusal: int, shown: int
) -> None:
    session = await a_session(browser)
    server.faults.script(Refuse(refusal))
    answer = await browser.post(f"/sessions/{session}/{way}", json={"question": "How long is the warranty?"})
    assert answer.status_code == shown


async def test_a_stream_that_breaks_is_completed_from_its_session(
    browser: httpx.AsyncClient, server: LocalServer
) -> None:
    session = await a_session(browser)
    # After a tool call, by whose id the turn is known again.
    server.faults.script(Cut(at_byte=3000, finish_first=True))
    answer = await browser.post(f"/sessions/{session}/stream", json={"question": "How long is the warranty?"})
    assert "36 months" in answer.text
    assert "not complete" not in answer.text
