"""langchain-openai and langchain-anthropic: what they would post of a conversation that holds a session's answer."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from chat_sessions.langchain import SessionChatModel, text_message
from tests.consumers.service import ANSWER, Service

MODELS: dict[str, Any] = {
    "OpenAI": lambda: ChatOpenAI(model="gpt-5", api_key=SecretStr("x")),
    "OpenAI, Responses": lambda: ChatOpenAI(model="gpt-5", api_key=SecretStr("x"), use_responses_api=True),
    "Anthropic": lambda: ChatAnthropic(model_name="claude-4", api_key=SecretStr("x"), timeout=None, stop=None),
}


def _text_output(service: Service) -> AIMessage:
    return SessionChatModel(client=service.client(), output="text").invoke("How was Q3?")


def _text_message(service: Service) -> AIMessage:
    return text_message(SessionChatModel(client=service.client()).invoke("How was Q3?"))


@pytest.mark.parametrize("answer_of", [_text_output, _text_message])
@pytest.mark.parametrize("name", MODELS)
def test_the_text_of_an_answer_is_a_message_that_another_model_takes(
    name: str, answer_of: Any, service: Service
) -> None:
    history = [HumanMessage("How was Q3?"), answer_of(service), HumanMessage("In French?")]
    payload = MODELS[name]()._get_request_payload(history)
    posted = payload.get("messages") or payload["input"]
    assert [message["role"] for message in posted] == ["user", "assistant", "user"]
    content = posted[1]["content"]
    texts = [content] if isinstance(content, str) else [block["text"] for block in content]
    assert texts == [ANSWER]
    if isinstance(content, list):
        assert {block["type"] for block in content} <= {"text", "output_text"}
