"""The pages of `examples/recipes` in their programs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import socketio
from gradio_client import Client
from streamlit.testing.v1 import AppTest

from tests.consumers.ports import free_port, wait_until_open
from tests.consumers.recipes import FOLDER, load
from tests.consumers.service import ANSWER, Service

QUESTIONS = ["How was Q3?", "And Q4?"]


def test_the_gradio_page_streams_the_answers_of_a_session_for_each_tab(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    page = load("gradio_app.py")["page"]
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    try:
        for _ in range(2):
            tab = Client(url, verbose=False, analytics_enabled=False)
            for question in QUESTIONS:
                job = tab.submit(question, api_name="/chat")
                answer = job.result(timeout=60)
                assert (answer[0] if isinstance(answer, tuple | list) else answer) == ANSWER
    finally:
        page.close()
    assert service.prompts == QUESTIONS * 2
    assert len({session_id for session_id, _ in service.agent.asked}) == 2


def test_the_streamlit_page_shows_the_session_and_goes_on_with_it(service: Service) -> None:
    page = AppTest.from_file(str(FOLDER / "streamlit_app.py")).run(timeout=60)
    for question in QUESTIONS:
        page.chat_input[0].set_value(question).run(timeout=60)
        assert not page.exception
    assert [message.markdown[0].value for message in page.chat_message] == [
        QUESTIONS[0], ANSWER, QUESTIONS[1], ANSWER
    ]  # fmt: skip
    assert service.prompts == QUESTIONS
    assert service.session_id


@pytest.fixture
def chainlit(service: Service, tmp_path: Path) -> Iterator[str]:
    """The address of the Chainlit page."""
    port = free_port()
    file = FOLDER / "chainlit_app.py"
    program = str(Path(sys.executable).with_name("chainlit"))
    command = [program, "run", str(file), "--headless", "--port", str(port), "--host", "127.0.0.1"]
    environment = {**os.environ, "CHAINLIT_APP_ROOT": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        try:
            wait_until_open(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


async def _chat(url: str, questions: list[str]) -> tuple[list[str], list[str]]:
    """What a browser's tab is sent: the tokens and the answers."""
    tokens: list[str] = []
    answers: list[str] = []
    ended = asyncio.Event()
    browser = socketio.AsyncClient()

    @browser.on("stream_start")
    def start(data: dict[str, Any]) -> None:
        tokens.append(data["output"])

    @browser.on("stream_token")
    def token(data: dict[str, Any]) -> None:
        tokens.append(data["token"])

    @browser.on("update_message")
    @browser.on("new_message")
    def message(data: dict[str, Any]) -> None:
        if data["type"] == "assistant_message" and not data.get("streaming"):
            answers.append(data["output"])

    @browser.on("task_end")
    def end(*_: object) -> None:
        ended.set()

    auth = {"clientType": "webapp", "sessionId": str(uuid.uuid4()), "threadId": "", "userEnv": "{}", "chatProfile": ""}
    await browser.connect(url, socketio_path="/ws/socket.io", transports=["websocket"], auth=auth)
    await browser.emit("connection_successful")
    for question in questions:
        ended.clear()
        said = {"id": str(uuid.uuid4()), "name": "user", "type": "user_message", "output": question, "createdAt": ""}
        await browser.emit("client_message", {"message": said, "fileReferences": []})
        count = len(answers)
        async with asyncio.timeout(60):
            while len(answers) == count:
                await ended.wait()
                ended.clear()
    await browser.disconnect()
    return tokens, answers


@pytest.mark.heavy
async def test_the_chainlit_page_streams_the_answers_of_one_session(chainlit: str, service: Service) -> None:
    tokens, answers = await _chat(chainlit, QUESTIONS)
    assert answers == [ANSWER, ANSWER]
    assert "".join(tokens) == ANSWER * 2
    assert len(tokens) > 2
    assert service.prompts == QUESTIONS
    assert service.session_id
