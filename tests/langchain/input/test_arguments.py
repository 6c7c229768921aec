"""The arguments of a model and of a call."""

from __future__ import annotations

import inspect
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage, HumanMessage, trim_messages
from langchain_core.runnables import ConfigurableField
from pydantic import BaseModel

from chat_sessions import ConfigurationError, LlamaCloudChat, Timeouts
from chat_sessions.langchain import SessionChatModel, SessionInputWarning, session_node
from chat_sessions.langchain.input.arguments import ModelArguments
from tests.faces import do
from tests.langchain import stage as stage_module
from tests.langchain.stage import Opener, Stage


@pytest.mark.checklist(49)
def test_stop_sequences_are_accepted_with_a_warning(stage: Stage) -> None:
    with pytest.warns(SessionInputWarning, match="stop is not sent"):
        assert stage.model().invoke("q", stop=["world"]).text == "Hello world"


class _Answer(BaseModel):
    text: str


@pytest.mark.checklist(49)
def test_tools_and_schemas_are_refused_with_what_to_do_instead(stage: Stage) -> None:
    model = stage.model()
    with pytest.raises(NotImplementedError, match="give your tools to an agent of your own"):
        model.bind_tools([_Answer])
    with pytest.raises(NotImplementedError, match="give your tools to an agent of your own"):
        model.invoke("q", tools=[{"name": "t"}])
    with pytest.raises(NotImplementedError, match="takes no schema"):
        model.with_structured_output(_Answer)
    with pytest.raises(NotImplementedError, match="leave bind_tools out"):
        model.bind_tools([])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"index_id": ["idx-docs"]}, "no argument index_id; did you mean index_ids?"),
        ({"sesion_id": "ses-1"}, "no argument sesion_id; did you mean session_id?"),
        ({"indexes": ["idx-docs"]}, "no argument indexes; did you mean index_ids?"),
        ({"indices": ["idx-docs"]}, "no argument indices; did you mean index_ids?"),
        ({"index": ["idx-docs"]}, "no argument index; did you mean index_ids?"),
        ({"system_prompt": "French"}, "no argument system_prompt; did you mean system?"),
        ({"project": "p"}, "no argument project; did you mean project_id?"),
        ({"request_timeout": 9}, "no argument request_timeout; did you mean timeout?"),
        ({"api_kye": "llx-secret"}, "no argument api_kye; did you mean api_key?"),
        ({"colour": "llx-secret"}, "no argument colour; there are api_key, "),
        ({"client": "llx-secret"}, "client is of type str: give the sync client"),
    ],
)
def test_an_argument_that_a_model_does_not_have_is_named_and_its_value_is_not(
    arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        SessionChatModel(**arguments)
    assert says in str(raised.value)
    assert "llx-secret" not in str(raised.value)


def test_what_any_chat_model_of_langchain_is_given_is_accepted_and_warned_of(stage: Stage) -> None:
    standard: dict[str, Any] = {
        "temperature": 0,
        "max_tokens": 9,
        "timeout": 9,
        "stop": [],
        "max_retries": 2,
        "model": "m",
        "top_p": 0.5,
    }
    with pytest.warns(SessionInputWarning) as warned:
        model = stage.model(**standard, streaming=True)
    assert model.invoke("q").text == "Hello world"
    assert [str(warning.message).split()[0] for warning in warned] == [
        "temperature",
        "max_tokens",
        "model",
        "top_p",
        "timeout",
        "max_retries",
    ]
    assert {warning.filename for warning in warned} == {str(Path(stage_module.__file__))}
    with pytest.warns(SessionInputWarning, match="temperature is not sent"):
        assert model.invoke("q", temperature=0).text == "Hello world"


def test_a_model_makes_its_client_from_the_arguments_that_every_model_has(stage: Stage) -> None:
    with pytest.raises(ConfigurationError, match="LLAMA_CLOUD_API_KEY"):
        SessionChatModel(base_url=stage.server.url)
    model = SessionChatModel(
        api_key=stage.server.api_key,
        base_url=stage.server.url,
        project_id=(project_id := str(uuid4())),
        organization_id=(organization_id := str(uuid4())),
        index_ids=["idx-docs"],
        timeout=9,
        max_retries=1,
    )
    client = model.client
    assert isinstance(client, LlamaCloudChat)
    assert client.timeouts == Timeouts(first_event=9, idle=9)
    assert project_id in repr(client)
    assert organization_id in repr(client)
    assert stage.server.api_key not in repr(model) + str(model.model_dump()) + repr(client)
    assert stage.server.api_key.encode() not in pickle.dumps(model)
    assert model.invoke("q").text == "Hello world"
    client.close()


def test_an_argument_of_the_client_is_not_taken_beside_a_client(stage: Stage) -> None:
    with pytest.raises(ConfigurationError, match="project_id belongs to the client"):
        stage.model(project_id="prj-1")
    with pytest.warns(SessionInputWarning, match="api_key is not used"):
        assert stage.model(api_key="llx-other").client is stage.client


def test_a_type_checker_and_the_model_know_the_same_arguments() -> None:
    fields = set(SessionChatModel.model_fields)
    known = set(ModelArguments.__annotations__)
    taken = set(inspect.signature(LlamaCloudChat).parameters) | {"timeout"}
    assert fields <= known
    assert known - fields <= taken
    assert taken <= known


def test_a_field_that_a_model_does_not_have_cannot_be_configured(stage: Stage) -> None:
    with pytest.raises(ConfigurationError, match=r"no argument indexes; did you mean index_ids\?"):
        stage.model().configurable_fields(indexes=ConfigurableField("indexes"))


@pytest.mark.parametrize("kwargs", [{"sesion_id": "x"}, {"indexes": ["idx-docs"]}, {"api_key": "x"}])
def test_an_argument_that_a_turn_does_not_have_is_named(stage: Stage, kwargs: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(kwargs))):
        stage.model().invoke("q", **kwargs)
    assert stage.actor.prompts == []


async def test_a_first_turn_without_an_index_creates_no_session_whatever_asks(open_with: Opener) -> None:
    stage = open_with()
    with LlamaCloudChat(api_key=stage.server.api_key, base_url=stage.server.url) as client:
        model = SessionChatModel(client=client)
        calls: list[Callable[[], object]] = [
            lambda: model.invoke("q"),
            lambda: model.ainvoke("q"),
            lambda: list(model.stream("q")),
            lambda: anext(model.astream("q")),
            lambda: model.as_tool().invoke({"question": "q"}),
            lambda: model.as_tool().ainvoke({"question": "q"}),
            lambda: session_node(model).invoke({"messages": [HumanMessage("q")]}),
            lambda: session_node(model).ainvoke({"messages": [HumanMessage("q")]}),
        ]
        for call in calls:
            with pytest.raises(ConfigurationError, match="no index to query"):
                await do(call())
        assert list(client.list()) == []
        assert model.invoke("q", index_ids=["idx-docs"]).text == "Hello world"


def test_an_async_client_or_session_is_refused_with_what_to_give(stage: Stage) -> None:
    client: Any = stage.client.aio
    with pytest.raises(ValueError, match="give the sync client or session"):
        SessionChatModel(client=client)
    with pytest.raises(ValueError, match="give the sync client or session"):
        SessionChatModel.from_session(client.session())


@pytest.mark.checklist(49)
def test_the_profile_says_what_a_session_cannot_do(stage: Stage) -> None:
    profile: Any = stage.model().profile
    assert (profile["tool_calling"], profile["structured_output"], profile["image_inputs"]) == (False, False, False)
    assert "profile" not in stage.model().model_dump()


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ({"index_ids": "idx-docs"}, "SessionChatModel: index_ids: Input should be a valid list"),
        ({"index_ids": 3}, "SessionChatModel: index_ids: Input should be a valid list"),
        ({"system": "drop"}, "SessionChatModel: system: Input should be 'warn', 'prepend' or 'error'"),
        ({"cache": True}, "a session cannot be cached"),
    ],
)
def test_a_value_that_a_field_does_not_take_is_an_error_like_every_other(
    stage: Stage, field: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        stage.model(**field)


def test_what_a_field_does_not_take_is_not_quoted(stage: Stage) -> None:
    # Not whole in this file, which a traceback quotes, too.
    key = "-".join(("llx", "secret"))
    with pytest.raises(ConfigurationError, match="SessionChatModel: session_id") as raised:
        stage.model(session_id=[key])
    assert key not in "".join(traceback.format_exception(raised.value))


def test_tokens_are_estimated_without_another_package(stage: Stage) -> None:
    model = stage.model()
    assert model.get_num_tokens("twelve chars") == 3
    messages = [HumanMessage("a" * 400), AIMessage("b" * 400), HumanMessage("c" * 400)]
    assert 300 < model.get_num_tokens_from_messages(messages) < 350
    kept = trim_messages(messages, max_tokens=150, token_counter=model, strategy="last")
    assert kept == messages[-1:]
    with pytest.raises(NotImplementedError, match="get_num_tokens estimates the number of tokens"):
        model.get_token_ids("one")


def test_tokens_are_counted_as_the_model_is_told(stage: Stage) -> None:
    model = stage.model(custom_get_token_ids=lambda text: [0] * len(text.split()))
    assert model.get_num_tokens("one two three") == 3
    assert model.get_num_tokens_from_messages([HumanMessage("one two")]) == 3
    assert model.get_token_ids("one two") == [0, 0]
