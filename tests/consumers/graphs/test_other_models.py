"""What other models post of a conversation that holds a session's answer: its words, and nothing of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, messages_from_dict, messages_to_dict
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from chat_sessions.langchain import SessionChatModel, SessionMemory, text_message
from tests.consumers.service import ANSWER, PASSAGE, THOUGHT, Service

MODELS: dict[str, Any] = {
    "OpenAI": lambda: ChatOpenAI(model="gpt-5", api_key=SecretStr("x")),
    "OpenAI, Responses": lambda: ChatOpenAI(model="gpt-5", api_key=SecretStr("x"), use_responses_api=True),
    "Anthropic": lambda: ChatAnthropic(model_name="claude-4", api_key=SecretStr("x"), timeout=None, stop=None),
    "Gemini": lambda: ChatGoogleGenerativeAI(model="gemini-3", google_api_key=SecretStr("x")),
}


def _answer(service: Service, **options: Any) -> AIMessage:
    return SessionChatModel(client=service.client(), **options).invoke("How was Q3?")


def _streamed(service: Service) -> AIMessage:
    first, *others = SessionChatModel(client=service.client()).stream("How was Q3?")
    return first + others


def _replayed(service: Service) -> AIMessage:
    session_id = _answer(service).response_metadata["session_id"]
    (_, answer) = SessionMemory.from_session_id(session_id, client=service.client()).messages()
    assert isinstance(answer, AIMessage)
    return answer


def _stored(service: Service) -> AIMessage:
    (answer,) = messages_from_dict(json.loads(json.dumps(messages_to_dict([_answer(service)]))))
    assert isinstance(answer, AIMessage)
    return answer


ANSWERS: dict[str, Callable[[Service], AIMessage]] = {
    "invoked": _answer,
    "streamed": _streamed,
    "replayed": _replayed,
    "stored": _stored,
    "text output": lambda service: _answer(service, output="text"),
    "text_message": lambda service: text_message(_answer(service)),
    "text_message of v1": lambda service: text_message(_answer(service, output_version="v1")),
    "text_message of v3": lambda service: text_message(
        SessionChatModel(client=service.client()).stream_events("How was Q3?", version="v3").output
    ),
}


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
@pytest.mark.parametrize("answer_of", ANSWERS)
@pytest.mark.parametrize("name", MODELS)
def test_another_model_posts_the_words_of_an_answer_and_nothing_else(
    name: str, answer_of: str, service: Service
) -> None:
    history = [HumanMessage("How was Q3?"), ANSWERS[answer_of](service), HumanMessage("In French?")]
    model = MODELS[name]()
    if name == "Gemini":
        turns = model._prepare_request(history)["contents"]
        posted = [turn.model_dump(exclude_none=True, mode="json") for turn in turns]
        assert posted[1]["role"] == "model"
        assert "".join(part.pop("text") for part in posted[1]["parts"]) == ANSWER
        assert not any(posted[1]["parts"])
    else:
        payload = model._get_request_payload(history)
        posted = payload.get("messages") or payload["input"]
        assert [message["role"] for message in posted] == ["user", "assistant", "user"]
        content = posted[1]["content"]
        texts = [content] if isinstance(content, str) else [block["text"] for block in content]
        assert texts == [ANSWER]
        assert set(posted[1]) <= {"role", "content", "type"}
    told = json.dumps(posted)
    assert THOUGHT not in told
    assert told.count(PASSAGE) == 0
