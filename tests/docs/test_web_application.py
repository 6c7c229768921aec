"""The web application of the documentation, over sockets, with clients that read, leave and stop."""

from __future__ import annotations

import asyncio
import json
import runpy
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from chat_sessions import LocalServer
from chat_sessions.core.events import Stop, TextDelta
from chat_sessions.core.models import Usage
from chat_sessions.server import Agent, Behaviour
from chat_sessions.testing import Cut, Refuse
from tests.server.scripted import Gate, ScriptedAgent

ROOT = Path(__file__).parents[2]
END = Stop(usage=Usage(), is_error=False)
WARRANTY = {"question": "How long is the warranty?"}


class Site:
    """The application on a port, and the service behind it."""

    def __init__(self, service: LocalServer, browser: httpx.AsyncClient) -> None:
        self.service = service
        self.browser = browser

    async def session(self) -> str:
        created = await self.browser.post("/sessions")
        assert created.status_code == 201
        return f"/sessions/{created.json()['session_id']}"


@asynccontextmanager
async def running(patch: pytest.MonkeyPatch, agent: Agent | None = None) -> AsyncIterator[Site]:
    service = LocalServer(
        indexes={"idx-docs": ROOT / "examples" / "documents"},
        agent=agent,
        faults=[],
        behaviour=Behaviour(on_disconnect="cancel"),
    )
    with service, socket.create_server(("127.0.0.1", 0)) as listener:
        patch.setenv("LLAMA_CLOUD_API_KEY", service.api_key)
        patch.setenv("LLAMA_CLOUD_BASE_URL", service.url)
        app = runpy.run_path(str(ROOT / "examples" / "web_application.py"))["app"]
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", lifespan="off"))
        serving = asyncio.create_task(server.serve([listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as browser:
            yield Site(service, browser)
        server.should_exit = True
        await serving


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    async with running(monkeypatch) as opened:
        yield opened


async def test_it_streams_an_answer_and_answers_whole_in_the_same_session(site: Site) -> None:
    session = await site.session()
    streamed = await site.browser.post(f"{session}/stream", json=WARRANTY)
    assert "36 months" in streamed.text
    whole = (await site.browser.post(f"{session}/answer", json=WARRANTY)).json()
    assert "36 months" in whole["text"]
    assert "support-faq.txt" in whole["files"]
    turns = (await site.browser.get(session)).json()
    assert [turn["question"] for turn in turns] == [WARRANTY["question"]] * 2
    assert turns[0]["answer"] == streamed.text
    assert (await site.browser.delete(session)).status_code == 204
    gone = await site.browser.post(f"{session}/stream", json=WARRANTY)
    assert (gone.status_code, gone.json()) == (404, {"detail": "there is no such session"})


@pytest.mark.parametrize(
    ("question", "reason"), [("", "empty"), (" \n", "empty"), ("x" * 1500, "1,500 characters long"), ("\ud800", "half")]
)
@pytest.mark.parametrize("way", ["stream", "answer"])
async def test_a_question_that_cannot_be_sent_is_a_422_with_the_reason(
    site: Site, way: str, question: str, reason: str
) -> None:
    session = await site.session()
    body = json.dumps({"question": question})
    answer = await site.browser.post(f"{session}/{way}", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert reason in str(answer.json()["detail"])


@pytest.mark.parametrize(("refusal", "shown"), [(409, 409), (401, 502), (403, 502)])
@pytest.mark.parametrize("way", ["stream", "answer"])
async def test_a_refusal_of_the_service_is_a_status_of_the_application(
    site: Site, way: str, refusal: int, shown: int
) -> None:
    session = await site.session()
    site.service.faults.script(Refuse(refusal))
    answer = await site.browser.post(f"{session}/{way}", json=WARRANTY)
    assert answer.status_code == shown


@pytest.mark.parametrize("way", ["stream", "answer"])
async def test_a_service_that_is_gone_is_a_503(site: Site, way: str) -> None:
    session = await site.session()
    site.service.close()
    answer = await site.browser.post(f"{session}/{way}", json=WARRANTY)
    assert (answer.status_code, "was not sent" in answer.json()["detail"]) == (503, True)


async def test_a_stream_that_breaks_is_completed_from_its_session(site: Site) -> None:
    session = await site.session()
    # After a tool call, by whose id the turn is known again.
    site.service.faults.script(Cut(at_byte=3000, finish_first=True))
    answer = await site.browser.post(f"{session}/stream", json=WARRANTY)
    assert "36 months" in answer.text
    assert "not complete" not in answer.text


@pytest.mark.parametrize("way", ["leaves", "stops"])
async def test_the_turn_of_a_reader_who_leaves_or_stops_ends_at_the_service_and_the_next_is_answered(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    gate = Gate()
    left = [TextDelta(content="It is"), gate, END]
    whole = [TextDelta(content="36 months."), END]
    agent = ScriptedAgent(*whole, by_prompt={WARRANTY["question"]: left})
    async with running(monkeypatch, agent) as site:
        session = await site.session()
        async with site.browser.stream("POST", f"{session}/stream", json=WARRANTY) as answer:
            pieces = answer.aiter_text()
            assert await anext(pieces) == "It is"
            if way == "stops":
                assert (await site.browser.post(f"{session}/stop")).status_code == 204
                assert [piece async for piece in pieces] == []
        assert await asyncio.to_thread(gate.left.wait, 60)
        again = await site.browser.post(f"{session}/answer", json={"question": "In months?"})
        assert again.json()["text"] == "36 months."
        # Nothing is streaming, and that is no error.
        assert (await site.browser.post(f"{session}/stop")).status_code == 204
