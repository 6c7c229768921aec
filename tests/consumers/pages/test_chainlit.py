"""Chainlit: an application on loopback, used in Chromium."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.consumers.ports import free_port, wait_until_open
from tests.consumers.service import ANSWER, PASSAGE, QUERY, Service
from tests.web.browser import chromium

pytestmark = pytest.mark.heavy

_TIMEOUT = 120_000
_ENGINE = """
import chainlit as cl
from llama_index.core.callbacks import CallbackManager

from chat_sessions.llama_index import SessionChatEngine


@cl.on_chat_start
async def begin():
    manager = CallbackManager([cl.LlamaIndexCallbackHandler()])
    cl.user_session.set("engine", SessionChatEngine(index_ids=["idx-docs"], callback_manager=manager))


@cl.on_message
async def answer(asked: cl.Message):
    message = cl.Message("")
    response = await cl.user_session.get("engine").astream_chat(asked.content)
    async for token in response.async_response_gen():
        await message.stream_token(token)
    await message.send()
"""
_MODEL = """
import chainlit as cl

from chat_sessions import LlamaCloudChat
from chat_sessions.langchain import SessionChatModel


@cl.on_chat_start
async def begin():
    session = LlamaCloudChat(index_ids=["idx-docs"]).session()
    cl.user_session.set("model", SessionChatModel.from_session(session))


@cl.on_message
async def answer(asked: cl.Message):
    message = cl.Message("")
    config = {"callbacks": [cl.AsyncLangchainCallbackHandler()]}
    async for chunk in cl.user_session.get("model").astream(asked.content, config):
        await message.stream_token(chunk.content)
    await message.send()
"""
# What has to be opened to see the tool, the outermost first, beside each application.
APPLICATIONS = {
    "LlamaIndex": (_ENGINE, ["#step-search"]),
    "LangChain": (_MODEL, ["#step-SessionChatModel", "#step-search"]),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@contextmanager
def _served(application: str, folder: Path) -> Generator[str]:
    """Yield the address of an application, whose process ends when you leave."""
    (folder / "application.py").write_text(application)
    port = free_port()
    command = [str(Path(sys.executable).with_name("chainlit")), "run", "application.py", "--headless"]
    told = {**os.environ, "CHAINLIT_APP_ROOT": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], cwd=folder, env=told, stdout=log, stderr=log
        )
        try:
            wait_until_open(port, process)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()
            process.wait()


@contextmanager
def _opened(browser: Browser, url: str) -> Generator[Page]:
    with browser.new_context() as context:
        # The page asks the internet for a font and a style sheet, which it does without.
        context.route(lambda asked: not asked.startswith((url, "ws://127.0.0.1")), lambda route: route.abort())
        page = context.new_page()
        page.set_default_timeout(_TIMEOUT)
        page.goto(url, wait_until="commit")
        yield page


def _ask(page: Page, question: str) -> None:
    page.locator("#chat-input").click()
    page.keyboard.type(question)
    # It is disabled until the page has its connection.
    page.locator("#chat-submit").click()


@pytest.mark.parametrize("framework", APPLICATIONS)
def test_a_page_streams_the_answers_of_one_session_and_shows_its_tool_and_passage(
    framework: str, service: Service, browser: Browser, tmp_path: Path
) -> None:
    application, steps = APPLICATIONS[framework]
    with _served(application, tmp_path) as url, _opened(browser, url) as page:
        answers = page.locator('[data-step-type="assistant_message"]')
        for number, question in enumerate(("How was Q3?", "And Q4?"), start=1):
            _ask(page, question)
            expect(answers).to_have_count(number, timeout=_TIMEOUT)
            # A paragraph for each segment.
            expect(answers.last.get_by_role("article")).to_have_text(ANSWER.split("\n\n"), timeout=_TIMEOUT)
        for step in steps:
            page.locator(step).last.click()
        shown = page.locator("body")
        expect(shown).to_contain_text(QUERY, timeout=_TIMEOUT)
        expect(shown).to_contain_text(PASSAGE, timeout=_TIMEOUT)
        # Chainlit logs what its callback handlers raise.
        assert "Error" not in (tmp_path / "log").read_text()
    assert service.prompts == ["How was Q3?", "And Q4?"]
    assert service.session_id
