"""What is sent to the session, and to which session."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import ConfigurableField, RunnableLambda
from pydantic import BaseModel

from chat_sessions import AuthenticationError, ConfigurationError, LlamaCloudChat, Timeouts
from chat_sessions.langchain import SessionChatModel, SessionInputWarning
from chat_sessions.langchain.arguments import ModelArguments
from tests.langchain import stage as stage_module
from tests.langchain.stage import TEXT, Opener, Recorder, Stage
from tests.wire_server import Connection, Request, WireServer


@pytest.fixture(autouse=True)
def short_answers(stage: Stage) -> None:
    stage.play(*TEXT)


def _new(stage: Stage, *index_ids: str) -> str:
    return stage.client.create(index_ids=list(index_ids) or ["idx-docs"]).session_id


def _both(model: SessionChatModel, given: Any, **kwargs: Any) -> None:
    model.invoke(given, **kwargs)
    asyncio.run(model.ainvoke(given, **kwargs))


@pytest.mark.checklist(41)
def test_of_a_conversation_only_the_last_words_of_the_user_are_sent(stage: Stage) -> None:
    model = stage.model(session_id=_new(stage))
    first = model.invoke([HumanMessage("one")])
    model.invoke([HumanMessage("one"), first, HumanMessage("two")])
    assert stage.actor.prompts == ["one", "two"]


@pytest.mark.checklist(41)
def test_messages_of_the_user_in_a_row_are_one_prompt(stage: Stage) -> None:
    stage.model().invoke([HumanMessage("one"), HumanMessage([{"type": "text", "text": "two"}, " more"])])
    assert stage.actor.prompts == ["one\n\ntwo more"]


@pytest.mark.checklist(42)
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "the prompt is empty"),
        ("  \n", "the prompt is empty"),
        ([], "ends with no message"),
        ([SystemMessage("be brief")], "ends with no message"),
        ([HumanMessage("q"), AIMessage("a")], "ends with a message of type 'ai'"),
        ([HumanMessage("q"), ToolMessage("a", tool_call_id="c")], "ends with a message of type 'tool'"),
        (
            [HumanMessage([{"type": "image", "url": "https://example.com/a.png"}])],
            "holds a block of type 'image'",
        ),
        ("x" * 1001, "1,?000"),
    ],
)
def test_input_that_no_session_can_be_sent_is_an_error_before_any_request(
    stage: Stage, recorder: Recorder, given: Any, says: str
) -> None:
    model = stage.model()
    before = list(stage.client.list())
    with pytest.raises(ConfigurationError, match=says):
        model.invoke(given, {"callbacks": [recorder]})
    with pytest.raises(ConfigurationError, match=says):
        asyncio.run(model.ainvoke(given))
    assert recorder.names == ["llm_start", "llm_error"]
    assert list(stage.client.list()) == before


@pytest.mark.checklist(43)
def test_a_system_message_is_dropped_with_a_warning(stage: Stage) -> None:
    with pytest.warns(SessionInputWarning, match="system message is not sent"):
        stage.model().invoke([SystemMessage("be brief"), HumanMessage("q")])
    assert stage.actor.prompts == ["q"]


@pytest.mark.checklist(43)
def test_a_system_message_is_an_error_if_so_wished(stage: Stage) -> None:
    with pytest.raises(ConfigurationError, match="system message is not sent"):
        stage.model(system="error").invoke([SystemMessage("be brief"), HumanMessage("q")])
    assert stage.actor.prompts == []


@pytest.mark.checklist(43)
def test_a_system_message_is_put_before_the_first_prompt_of_a_session_alone(stage: Stage) -> None:
    model = stage.model(system="prepend", session_id=_new(stage))
    system = SystemMessage("be brief")
    first = model.invoke([system, HumanMessage("one")])
    model.invoke([system, HumanMessage("one"), first, HumanMessage("two")])
    asyncio.run(model.ainvoke([system, HumanMessage("three")]))
    asyncio.run(stage.model(system="prepend").ainvoke([system, HumanMessage("four")]))
    assert stage.actor.prompts == ["be brief\n\none", "two", "three", "be brief\n\nfour"]


@pytest.mark.checklist(41)
def test_messages_that_the_session_does_not_know_are_told_of(stage: Stage) -> None:
    foreign = [HumanMessage("one"), AIMessage("said by another model"), HumanMessage("two")]
    with pytest.warns(SessionInputWarning, match="the messages before the prompt are not sent"):
        stage.model().invoke(foreign)
    with pytest.raises(ConfigurationError, match="the messages before the prompt are not sent"):
        stage.model(on_prior_messages="error").invoke(foreign)
    stage.model(on_prior_messages="ignore").invoke(foreign)
    assert stage.actor.prompts == ["two", "two"]


@pytest.mark.checklist(41)
def test_messages_of_another_session_are_told_of_with_both_ids(stage: Stage) -> None:
    here = _new(stage)
    elsewhere = stage.model().invoke("one")
    there = elsewhere.response_metadata["session_id"]
    with pytest.warns(SessionInputWarning, match=f"{there}.*{here}"):
        stage.model(session_id=here).invoke([HumanMessage("one"), elsewhere, HumanMessage("two")])


@pytest.mark.checklist(41)
def test_run_nable_with_message_history_sends_each_message_once(stage: Stage) -> None:
    from langchain_core.runnables.history import RunnableWithMessageHistory

    from chat_sessions.langchain import SessionChatMessageHistory

    session = _new(stage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LangChain deprecates the wrapper that is the subject here
        wrapped = RunnableWithMessageHistory(
            stage.model(), lambda session_id: SessionChatMessageHistory(session_id, client=stage.client)
        )
    config: Any = {"configurable": {"session_id": session}}
    for question in ("one", "two"):
        wrapped.invoke([HumanMessage(question)], config)
    assert stage.actor.prompts == ["one", "two"]
    assert len(stage.client.session(session).turns()) == 2


@pytest.mark.checklist(44)
async def test_the_session_is_the_calls_then_the_configs_then_the_models(stage: Stage) -> None:
    own, configured, called, bound = (_new(stage) for _ in range(4))
    model = stage.model(session_id=own)
    config: Any = {"configurable": {"session_id": configured}}
    model.invoke("q")
    model.invoke("q", config)
    model.invoke("q", config, session_id=called)
    assert stage.actor.sessions == [own, configured, called]
    stage.actor.sessions.clear()
    model.bind(session_id=bound).invoke("q")
    model.bind(session_id=bound).invoke("q", config)
    model.bind(session_id=bound).invoke("q", config, session_id=called)
    assert stage.actor.sessions == [bound, configured, called]
    stage.actor.sessions.clear()
    await model.ainvoke("q", config)
    list(model.stream("q", config))
    _ = [chunk async for chunk in model.astream("q", config)]
    _ = model.stream_events("q", config, version="v3").output
    _ = await (await model.astream_events("q", config, version="v3")).output
    _ = [event async for event in model.astream_events("q", config, version="v2")]
    (model | (lambda message: message.text)).invoke("q", config)
    model.with_config(config).invoke("q")
    assert stage.actor.sessions == [configured] * 8
    assert model.session_id == own


@pytest.mark.checklist(44)
def test_each_item_of_a_batch_runs_in_the_session_of_its_config(stage: Stage) -> None:
    sessions = [_new(stage) for _ in range(3)]
    configs: Any = [{"configurable": {"session_id": session}} for session in sessions]
    answers = stage.model().batch(["a", "b", "c"], configs)
    assert [answer.response_metadata["session_id"] for answer in answers] == sessions


@pytest.mark.checklist(44)
def test_configurable_fields_choose_the_session_as_well(stage: Stage) -> None:
    own, chosen = _new(stage), _new(stage)
    model = stage.model(session_id=own).configurable_fields(session_id=ConfigurableField("chat"))
    model.invoke("q", {"configurable": {"chat": chosen}})
    model.invoke("q")
    assert stage.actor.sessions == [chosen, own]


@pytest.mark.checklist(45)
def test_a_thread_id_is_no_session(stage: Stage) -> None:
    thread = _new(stage)
    answer = stage.model().invoke("q", {"configurable": {"thread_id": thread}})
    assert answer.response_metadata["session_id"] != thread
    assert stage.client.session(thread).turns() == []


@pytest.mark.checklist(46)
async def test_a_call_without_a_session_makes_one_of_its_own_and_leaves_the_model_as_it_was(open_with: Opener) -> None:
    stage = open_with().play(*TEXT)
    model = stage.model()
    before = model.model_dump()
    ids = [
        model.invoke("a").response_metadata["session_id"],
        (await model.ainvoke("b")).response_metadata["session_id"],
        list(model.stream("c"))[-1].response_metadata["session_id"],
        model.stream_events("d", version="v3").output.response_metadata["session_id"],
    ]
    assert len(set(ids)) == 4
    assert ids == stage.actor.sessions
    assert {summary.session_id for summary in stage.client.list()} == set(ids)
    assert model.model_dump() == before


def test_a_model_goes_on_with_the_session_of_the_last_answer_if_so_wished(stage: Stage) -> None:
    model = stage.model(session_from_messages=True)
    first = model.invoke([HumanMessage("one")])
    second = model.invoke([HumanMessage("one"), first, HumanMessage("two")])
    assert first.response_metadata["session_id"] == second.response_metadata["session_id"]
    assert stage.actor.prompts == ["one", "two"]


async def test_a_model_of_a_session_creates_it_once_for_sync_and_async(stage: Stage) -> None:
    session = stage.client.session(index_ids=["idx-more"])
    model = SessionChatModel.from_session(session)
    first = await model.ainvoke("one")
    second = model.invoke("two")
    third = await model.ainvoke("three")
    assert {answer.response_metadata["session_id"] for answer in (first, second, third)} == {session.id}
    assert stage.actor.indexes == [("idx-more",)] * 3
    assert model.invoke("four", session_id=(other := _new(stage))).response_metadata["session_id"] == other


@pytest.mark.checklist(47)
async def test_turns_of_one_session_never_run_at_the_same_time(stage: Stage) -> None:
    model = stage.model(session_id=_new(stage))
    answers = await asyncio.to_thread(model.batch, ["a", "b", "c"])
    answers += await model.abatch(["d", "e", "f"])
    assert [answer.text for answer in answers] == ["Hello world"] * 6
    assert stage.actor.most_running == 1
    assert sorted(stage.actor.prompts) == ["a", "b", "c", "d", "e", "f"]


@pytest.mark.checklist(48)
def test_the_indexes_are_the_calls_then_the_models_then_the_sessions(open_with: Opener) -> None:
    from chat_sessions.server import Behaviour

    stage = open_with(Behaviour(sources="free")).play(*TEXT)
    session = _new(stage, "idx-more")
    stage.model(session_id=session, index_ids=["idx-docs"]).invoke("q", index_ids=["idx-docs", "idx-more"])
    stage.model(session_id=session, index_ids=["idx-docs"]).invoke("q")
    stage.model(session_id=session).invoke("q")
    assert stage.actor.indexes == [("idx-docs", "idx-more"), ("idx-docs",), ("idx-more",)]
    with pytest.raises(ConfigurationError, match="must be a list"):
        stage.model().invoke("q", index_ids="idx-docs")


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
        api_key=stage.server.api_key, base_url=stage.server.url, index_ids=["idx-docs"], timeout=9, max_retries=1
    )
    client = model.client
    assert isinstance(client, LlamaCloudChat)
    assert client.timeouts == Timeouts(first_event=9, idle=9)
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


@pytest.mark.checklist(43)
async def test_a_warning_points_at_the_line_that_asks(stage: Stage) -> None:
    model = stage.model()
    given = [SystemMessage("be brief"), HumanMessage("q")]
    chain: Any = RunnableLambda(lambda _: given) | model
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", SessionInputWarning)
        model.invoke(given)
        list(model.stream(given))
        _ = model.stream_events(given, version="v3").output
        chain.invoke("q")
        model.invoke("q", stop=["x"])
        await model.ainvoke(given)
        _ = [chunk async for chunk in model.astream(given)]
    assert [warning.filename for warning in warned] == [__file__] * 7


@pytest.mark.checklist(43)
def test_a_warning_of_a_task_points_at_the_line_that_runs_the_loop(stage: Stage) -> None:
    # LangChain runs each step of an async chain as a task, which knows nobody who awaits it.
    given = [SystemMessage("be brief"), HumanMessage("q")]
    chain: Any = RunnableLambda(lambda _: given) | stage.model()
    with pytest.warns(SessionInputWarning) as warned:
        asyncio.run(chain.ainvoke("q"))
    assert warned[0].filename == __file__


@pytest.mark.parametrize("kwargs", [{"sesion_id": "x"}, {"indexes": ["idx-docs"]}, {"api_key": "x"}])
def test_an_argument_that_a_turn_does_not_have_is_named(stage: Stage, kwargs: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(kwargs))):
        stage.model().invoke("q", **kwargs)
    assert stage.actor.prompts == []


def test_a_session_id_that_is_no_string_is_named(stage: Stage) -> None:
    with pytest.raises(ConfigurationError, match="must be a string, got 7"):
        stage.model().invoke("q", {"configurable": {"session_id": 7}})


def test_an_empty_session_id_is_an_error_and_not_another_session(stage: Stage) -> None:
    model = stage.model(session_id=_new(stage))
    with pytest.raises(ConfigurationError, match="session_id is empty"):
        model.invoke("q", {"configurable": {"session_id": ""}})
    assert stage.actor.prompts == []


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


async def test_a_session_is_asked_for_its_indexes_once_and_not_before_each_turn() -> None:
    def stream(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(*TEXT)
        connection.end_stream()

    with WireServer() as wire:
        summary = {"session_id": "ses-1", "last_updated_at": "2026-11-21T10:00:00Z", "index_ids": ["idx-docs"]}
        wire.on("GET", "/ses-1/summary", lambda _, connection: connection.respond(200, summary))
        wire.on("POST", "/messages/stream", stream)
        model = SessionChatModel(client=LlamaCloudChat(api_key="llx-test", base_url=wire.url))
        for _ in range(2):
            model.invoke("q", session_id="ses-1")
            await model.ainvoke("q", session_id="ses-1")
        assert [request.json["index_ids"] for request in wire.posts()] == [["idx-docs"]] * 4
        assert [request.method for request in wire.requests].count("GET") == 1


def test_what_is_remembered_of_sessions_is_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_sessions.langchain.input.sessions._RECENT", 2)
    model = stage.model()
    ids = [model.invoke("q").response_metadata["session_id"] for _ in range(3)]
    assert [session_id for session_id in ids if model._sessions.get(session_id, stage.client)] == ids[1:]


def test_a_copy_with_another_client_asks_that_one(stage: Stage) -> None:
    model = stage.model()
    session_id = model.invoke("q").response_metadata["session_id"]
    with LlamaCloudChat(api_key="llx-wrong", base_url=stage.server.url, index_ids=["idx-docs"]) as stranger:
        twin = model.model_copy(update={"client": stranger})
        with pytest.raises(AuthenticationError):
            twin.invoke("q", session_id=session_id)
