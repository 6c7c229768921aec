"""The same messages for a turn that was streamed and for one that is read back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.base.llms.types import (
    ChatMessage,
    ContentBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.tools import ToolOutput

from chat_sessions import (
    ConfigurationError,
    Event,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    Turn,
    Usage,
    UserInput,
    replay,
)
from chat_sessions.llama_index import SessionChatEngine, StreamingSessionResponse, messages_of
from chat_sessions.llama_index.messages import same_talk, token_counts
from chat_sessions.server import Behaviour
from tests.core.turns import Told, canonical_turns, tellings, told_turns
from tests.llama_index.checklist import proves
from tests.llama_index.conftest import Serve
from tests.llama_index.told_backend import engine_of

STOP = Stop(usage=Usage(), is_error=False)
Finals: TypeAlias = Literal["after_deltas", "only", "never"]
History: TypeAlias = Literal["finals", "deltas", "both"]


def without_gaps(text: str) -> str:
    """The text without the blank lines that keep apart what is said before and after a tool."""
    return text.replace("\n\n", "")


def live(events: Sequence[Event]) -> StreamingSessionResponse:
    return engine_of(events).stream_chat("q")


@proves(4, 5)
@given(st.data())
def test_a_turn_streamed_and_the_same_turn_replayed_give_equal_messages(data: st.DataObject) -> None:
    happened = data.draw(canonical_turns())
    response = live(data.draw(tellings(happened)))
    shown = "".join(response.response_gen)
    history = [UserInput(content="q"), *data.draw(tellings(happened))]
    assert messages_of([response.turn]) == messages_of(replay(history))
    assert without_gaps(shown) == without_gaps(response.turn.text)
    assert shown.strip() == response.response
    assert len(response.sources) == sum(isinstance(event, ToolResult) for event in happened)


@pytest.mark.parametrize("wrong", [3, "x", [3], [UserInput(content="q")], Turn(prompt="q", events=())])
def test_what_is_no_list_of_turns_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"messages_of takes the turns of a session, such as session.turns"):
        messages_of(wrong)


@proves(25)
@pytest.mark.parametrize("finals", ["after_deltas", "only", "never"])
@pytest.mark.parametrize("history", ["finals", "deltas", "both"])
def test_the_history_of_a_real_session_equals_the_turn_that_was_streamed(
    serve: Serve, finals: Finals, history: History
) -> None:
    chat = serve(behaviour=Behaviour(finals=finals, history=history, echo_user_input=True))
    engine = SessionChatEngine(client=chat)
    with engine.stream_chat("How much?") as response:
        response.drain()
    assert engine.chat_history == messages_of([response.turn])


@proves(50)
@given(told_turns())
def test_every_tool_message_follows_the_message_that_holds_its_call(told: Told) -> None:
    open_calls: list[str] = []
    answered: list[str] = []
    for message in messages_of(replay(told.told)):
        if message.role is MessageRole.TOOL:
            assert message.additional_kwargs["name"]
            open_calls.remove(message.additional_kwargs["tool_call_id"])
            answered.append(message.additional_kwargs["tool_call_id"])
        else:
            assert open_calls == []
            open_calls = [str(block.tool_call_id) for block in message.blocks if isinstance(block, ToolCallBlock)]
    assert open_calls == []
    tools = [event.call_id for event in told.canonical if isinstance(event, ToolCall | ToolResult)]
    assert sorted(answered) == sorted(set(tools))


@proves(49)
@given(told_turns())
def test_every_message_goes_through_json_and_back(told: Told) -> None:
    for message in messages_of([Turn("q", told.canonical)]):
        assert ChatMessage.model_validate_json(message.model_dump_json()) == message


@proves(51)
@given(told_turns())
def test_thinking_is_never_content_and_text_is_never_split(told: Told) -> None:
    turn = Turn("q", told.canonical)
    messages = messages_of([turn])
    blocks = [message.blocks for message in messages if message.role is MessageRole.ASSISTANT]
    for one in blocks:
        assert not any(isinstance(a, TextBlock) and isinstance(b, TextBlock) for a, b in itertools.pairwise(one))
    text = "".join(block.text for one in blocks for block in one if isinstance(block, TextBlock))
    assert without_gaps(text) == without_gaps(turn.text)
    thinking = "".join(str(block.content) for one in blocks for block in one if isinstance(block, ThinkingBlock))
    assert without_gaps(thinking) == without_gaps(turn.thinking)


def shape(events: Sequence[Event], prompt: str | None = None) -> list[tuple[str, list[str]]]:
    def show(block: ContentBlock) -> str:
        if isinstance(block, ToolCallBlock):
            return f"{block.tool_name}#{block.tool_call_id}({block.tool_kwargs})"
        if isinstance(block, ThinkingBlock):
            return f"<{block.content}>"
        assert isinstance(block, TextBlock)
        return block.text

    return [(m.role.value, [show(block) for block in m.blocks]) for m in messages_of([Turn(prompt, tuple(events))])]


@proves(50, 51)
def test_a_turn_with_tools_is_split_at_their_results() -> None:
    events = (
        Thinking(content="Hm."),
        Text(content="I look. "),
        ToolCall(call_id="a", name="search", arguments={"q": 1}),
        ToolCall(call_id="b", name="read", arguments={}),
        ToolResult(call_id="b", name="read", result="page"),
        Text(content="Meanwhile. "),
        ToolResult(call_id="a", name="search", result=[1]),
        Text(content="Done."),
        STOP,
    )
    assert shape(events, "q") == [
        ("user", ["q"]),
        ("assistant", ["<Hm.>", "I look. ", "search#a({'q': 1})", "read#b({})"]),
        ("tool", ["[1]"]),
        ("tool", ["page"]),
        ("assistant", ["Meanwhile. Done."]),
    ]


@proves(50)
def test_a_call_without_a_result_and_a_result_without_a_call_are_told_as_such() -> None:
    call = ToolCall(call_id="a", name="search", arguments={})
    assert shape((call,))[1:] == [("tool", ["This tool has not given a result yet."])]
    assert shape((call, STOP))[1:] == [("tool", ["The turn ended before this tool gave a result."])]
    assert shape((ToolResult(call_id="b", name="read", result=None), STOP)) == [
        ("assistant", ["read#b({})"]),
        ("tool", [""]),
    ]
    (_, tool) = messages_of([Turn(None, (call, STOP))])
    assert tool.additional_kwargs == {"tool_call_id": "a", "name": "search", "status": "unanswered"}


def test_a_call_id_that_is_used_again_is_another_round() -> None:
    call = ToolCall(call_id="a", name="search", arguments={"n": 1})
    again = ToolCall(call_id="a", name="search", arguments={"n": 2})
    result = ToolResult(call_id="a", name="search", result=1)
    assert [role for role, _ in shape((call, result, again, result, STOP))] == ["assistant", "tool"] * 2
    assert [role for role, _ in shape((call, again, result, STOP))] == ["assistant", "tool"] * 2


def test_a_result_that_says_it_failed_is_marked() -> None:
    result = ToolResult(call_id="a", name="search", result={"error": "no index"})
    (_, tool) = messages_of([Turn(None, (result, STOP))])
    assert tool.additional_kwargs["status"] == "failed"


def test_the_same_talk_is_known_whoever_kept_it() -> None:
    events = (Text(content="I look. "), ToolCall(call_id="a", name="t", arguments={}), Text(content="Done."))
    result = ToolResult(call_id="a", name="t", result=1)
    own = messages_of([Turn("Well?", (*events[:2], result, events[2], STOP)), Turn("And?", (events[2], STOP))])
    kept = [
        ChatMessage(role=role, content=content)
        for role, content in (
            (MessageRole.USER, "Well?"),
            (MessageRole.ASSISTANT, "I look.\n\nDone."),
            (MessageRole.USER, "And?"),
            (MessageRole.ASSISTANT, "Done."),
        )
    ]
    assert same_talk(own, kept)
    assert not same_talk(own, kept[:-1])
    assert not same_talk(own, [*kept[:3], ChatMessage(role=MessageRole.ASSISTANT, content="Not done.")])


def test_a_turn_that_has_no_usage_yet_has_no_counts() -> None:
    assert token_counts(None) == {}


def test_an_unfinished_turn_shows_what_has_come() -> None:
    assert shape((ThinkingDelta(content="Hm"), TextDelta(content="So fa")), "q") == [
        ("user", ["q"]),
        ("assistant", ["<Hm>", "So fa"]),
    ]


def test_a_turn_without_an_answer_is_the_question_alone() -> None:
    assert shape((STOP,), "q") == [("user", ["q"])]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=6,
    )
)
@proves(22)
def test_any_json_is_survived_as_a_tool_result(result: object) -> None:
    event = ToolResult.model_validate({"call_id": "a", "name": "search", "result": result})
    response = live((ToolCall(call_id="a", name="search", arguments={}), event, STOP))
    response.drain()
    (output,) = response.sources
    assert isinstance(output, ToolOutput)
    assert output.tool_name == "search"
    assert isinstance(output.content, str)
    assert messages_of([response.turn])[-1].role is MessageRole.TOOL
