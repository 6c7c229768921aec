"""Gradio: a `ChatInterface` on loopback, asked through Gradio's client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio
import pytest
from gradio_client import Client

from chat_sessions.langchain import SessionChatModel
from chat_sessions.llama_index import SessionChatEngine
from tests.consumers.service import ANSWER, Service


def _engine(service: Service) -> Callable[..., Iterator[str]]:
    engine = SessionChatEngine(client=service.client())

    def answer(message: str, history: list[Any]) -> Iterator[str]:
        words = ""
        for token in engine.stream_chat(message).response_gen:
            words += token
            yield words

    return answer


def _model(service: Service) -> Callable[..., Iterator[str]]:
    model = SessionChatModel.from_session(service.client().session())

    def answer(message: str, history: list[Any]) -> Iterator[str]:
        words = ""
        for chunk in model.stream(message):
            words += chunk.text
            yield words

    return answer


@pytest.mark.parametrize("function_of", [_engine, _model])
def test_a_chat_interface_streams_the_answers_of_one_session(
    function_of: Any, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    page = gradio.ChatInterface(function_of(service), api_name="chat")
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    try:
        client = Client(url, verbose=False, analytics_enabled=False)
        for question in ("How was Q3?", "And Q4?"):
            job = client.submit(question, api_name="/chat")
            assert job.result(timeout=300) == ANSWER
            steps = job.outputs()
            assert all(ANSWER.startswith(step) for step in steps)
    finally:
        page.close()
    assert service.prompts == ["How was Q3?", "And Q4?"]
    assert service.session_id
