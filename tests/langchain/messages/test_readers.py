"""What others make of the messages: user interfaces, message stores, other models, counters of tokens."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    convert_to_openai_messages,
    message_to_dict,
    messages_from_dict,
)
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import ConfigurableFieldSpec
from langchain_core.runnables.history import RunnableWithMessageHistory

from chat_sessions.core.events import TextDelta, ThinkingDelta
from chat_sessions.langchain import (
    SessionChatMessageHistory,
    SessionLoader,
    SessionMemory,
    events_to_messages,
    text_message,
)
from tests.langchain.stage import SEARCH, SEARCH_RESULT, STOP, TURN, Recorder, Stage, plain_blocks, total

# Sentences that end without a space, as agents end them before they call a tool.
APART = (
    ThinkingDelta(content="Where?"),
    TextDelta(content="Let me look."),
    SEARCH,
    SEARCH_RESULT,
    ThinkingDelta(content="There."),
    TextDelta(content="Revenue "),
    TextDelta(content="grew."),
    STOP,
)
WORDS = "Let me look.\n\nRevenue grew."


def _stored(stage: Stage, **options: Any) -> AIMessage:
    """The last answer, as the history of its session gives it."""
    session_id = stage.actor.sessions[-1]
    events = stage.client.retrieve(session_id).events
    message = events_to_messages(events, session_id=session_id, **options)[-1]
    assert isinstance(message, AIMessage)
    return message


async def test_text_in_a_list_is_a_text_block(stage: Stage) -> None:
    model = stage.play(*APART).model(output_version="v1")
    messages = [model.invoke("q"), await model.ainvoke("q"), _stored(stage, output_version="v1")]
    for message in [*messages, total(list(model.stream("q"))), model.stream_events("q", version="v3").output]:
        assert [block["text"] for block in message.content if block["type"] == "text"] == [
            "Let me look.",
            "\n\nRevenue grew.",
        ]


async def test_the_words_before_and_after_a_tool_stay_apart_for_every_reader(stage: Stage) -> None:
    model = stage.play(*APART).model()
    recorder = Recorder()
    assert model.invoke("q", {"callbacks": [recorder]}, stream=True).text == WORDS
    assert "".join(token for token in recorder.details("token") if isinstance(token, str)) == WORDS
    assert "".join(chunk.text for chunk in model.stream("q")) == WORDS
    assert "".join([chunk.text async for chunk in model.astream("q")]) == WORDS
    assert str(model.stream_events("q", version="v3").text) == WORDS
    assert _stored(stage).text == WORDS
    thoughts = [block["reasoning"] for block in model.invoke("q").content_blocks if block["type"] == "reasoning"]
    assert thoughts == ["Where?", "\n\nThere."]


async def test_with_text_alone_content_is_a_string_from_the_first_chunk_to_the_message(stage: Stage) -> None:
    model = stage.play(*APART).model(output="text", output_version="v1")
    chunks = [*model.stream("q"), *[chunk async for chunk in model.astream("q")]]
    assert all(isinstance(chunk.content, str) for chunk in chunks)
    shown = ""
    for chunk in chunks:
        shown += str(chunk.content)
    assert shown == WORDS * 2
    v3 = model.stream_events("q", version="v3")
    kinds = {event["content"]["type"] for event in v3 if event["event"] == "content-block-start"}
    assert kinds == {"text"}
    for message in (model.invoke("q"), await model.ainvoke("q"), _stored(stage, output="text"), v3.output):
        assert message.text == WORDS
        assert len(message.response_metadata["sources"]) == 1
    assert model.invoke("q").content == _stored(stage, output="text").content == WORDS


def test_with_text_alone_the_tools_are_still_runs_below_the_model(stage: Stage, recorder: Recorder) -> None:
    stage.model(output="text").invoke("q", {"callbacks": [recorder]})
    assert recorder.names.count("tool_start") == recorder.names.count("tool_end") == 2


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")
@pytest.mark.parametrize("version", [None, "v0", "v1"])
async def test_live_and_replayed_agree_on_the_version_of_the_environment(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    if version is None:
        monkeypatch.delenv("LC_OUTPUT_VERSION", raising=False)
    else:
        monkeypatch.setenv("LC_OUTPUT_VERSION", version)
    model = stage.play(*TURN).model()
    model.session_id = session_id = stage.new_session()
    live = [model.invoke("q"), await model.ainvoke("q"), total(list(model.stream("q")))]
    live.append(total([chunk async for chunk in model.astream("q")]))
    memory = SessionMemory.from_session_id(session_id, client=stage.client)
    (chat,) = [
        loaded
        for loaded in SessionLoader(client=stage.client).lazy_load()
        if any(message.response_metadata.get("session_id") == session_id for message in loaded["messages"])
    ]
    histories = [
        memory.messages(),
        await memory.amessages(),
        SessionChatMessageHistory(session_id, client=stage.client).messages,
        chat["messages"],
        events_to_messages(stage.client.retrieve(session_id).events, session_id=session_id),
    ]
    replayed = [message for history in histories for message in history if isinstance(message, AIMessage)]
    assert len(replayed) == 4 * 5
    for message in (*live, *replayed):
        assert message.response_metadata.get("output_version") == ("v1" if version == "v1" else None)
        assert plain_blocks(message) == plain_blocks(live[0])
    assert all(message.content == live[0].content for message in replayed)
    v3 = [model.stream_events("q", version="v3").output, await (await model.astream_events("q", version="v3")).output]
    assert [plain_blocks(message) for message in v3] == [plain_blocks(live[0])] * 2


def test_other_models_get_an_answer_as_text(stage: Stage) -> None:
    for version in (None, "v1"):
        answer = stage.play(*APART).model(output_version=version).invoke("q")
        told = text_message(answer)
        assert convert_to_openai_messages([told]) == [{"role": "assistant", "content": WORDS}]
        assert told.id == answer.id
        assert told.response_metadata["session_id"] == answer.response_metadata["session_id"]
        assert "output_version" not in told.response_metadata


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")
async def test_a_history_of_the_session_accepts_what_was_streamed(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    session_id = stage.play(*APART).new_session()
    prompt = ChatPromptTemplate.from_messages([MessagesPlaceholder("history"), ("human", "{input}")])
    chain = RunnableWithMessageHistory(
        prompt | stage.model(),
        lambda session_id: SessionChatMessageHistory(session_id, client=stage.client),
        input_messages_key="input",
        history_messages_key="history",
    )
    config: Any = {"configurable": {"session_id": session_id}}
    chain.invoke({"input": "one"}, config)
    list(chain.stream({"input": "two"}, config))
    _ = [chunk async for chunk in chain.astream({"input": "three"}, config)]
    assert stage.actor.prompts == ["one", "two", "three"]
    assert "Error in" not in caplog.text
    history = SessionChatMessageHistory(session_id, client=stage.client)
    history.add_messages([total(list(stage.model(session_id=session_id).stream("four")))])
    with pytest.raises(NotImplementedError, match="of type 'human'"):
        history.add_user_message("never asked")


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")
def test_a_history_whose_key_has_another_name_goes_on_in_the_session_of_its_answers(stage: Stage) -> None:
    history = InMemoryChatMessageHistory()
    chain: Any = RunnableWithMessageHistory(
        stage.play(*APART).model(session_from_messages=True),
        lambda conversation: history,
        history_factory_config=[ConfigurableFieldSpec(id="conversation", annotation=str)],
    )
    for question in ("one", "two"):
        chain.invoke(question, {"configurable": {"conversation": "ada"}})
    assert stage.actor.prompts == ["one", "two"]
    assert len(set(stage.actor.sessions)) == 1


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainDeprecationWarning")
def test_other_stores_keep_what_was_streamed(stage: Stage) -> None:
    whole = total(list(stage.play(*APART).model().stream("q")))
    history = InMemoryChatMessageHistory()
    history.add_message(whole)
    (loaded,) = messages_from_dict([message_to_dict(message) for message in history.messages])
    assert loaded.text == WORDS
    assert plain_blocks(loaded) == plain_blocks(whole)


def test_counters_of_tokens_find_the_counts_in_one_place(stage: Stage) -> None:
    """Langfuse takes `usage` and `token_usage` of the metadata for those of other services, before the counts."""
    answer: BaseMessage = stage.model().invoke("q")
    assert answer.usage_metadata == {"input_tokens": 10, "output_tokens": 4, "total_tokens": 14}  # type: ignore[attr-defined]
    assert not {"usage", "token_usage"} & set(answer.response_metadata)
