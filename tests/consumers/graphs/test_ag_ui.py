"""AG-UI: the events of ag-ui-langgraph."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ag_ui.core import EventType, RunAgentInput, UserMessage
from ag_ui_langgraph import LangGraphAgent
from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver

from chat_sessions.langchain import SessionChatModel
from tests.consumers.service import ANSWER, PASSAGE, QUERY, THOUGHT, Service


def _agent(service: Service, **options: Any) -> LangGraphAgent:
    model = SessionChatModel(client=service.client(), session_from_messages=True, **options)
    return LangGraphAgent(name="documents", graph=create_agent(model, tools=[], checkpointer=InMemorySaver()))


async def _events(agent: LangGraphAgent, *, run_id: str = "run", **given: Any) -> list[Any]:
    messages = [UserMessage(id=f"user-{run_id}", role="user", content="How was Q3?")]
    empty: dict[str, Any] = {"state": {}, "tools": [], "context": [], "forwarded_props": {}}
    run = RunAgentInput(thread_id="ada", run_id=run_id, messages=given.get("messages", messages), **empty)
    return [event async for event in agent.run(run)]


def _of(events: list[Any], kind: EventType) -> list[Any]:
    return [event for event in events if event.type == kind]


@pytest.mark.parametrize("output", [None, "text"])
async def test_a_run_streams_the_thought_the_words_and_the_tool_and_counts_the_tokens(
    output: str | None, service: Service
) -> None:
    events = await _events(_agent(service, **({} if output is None else {"output": output})))
    assert (events[0].type, events[-1].type) == (EventType.RUN_STARTED, EventType.RUN_FINISHED)
    assert "".join(event.delta for event in _of(events, EventType.TEXT_MESSAGE_CONTENT)) == ANSWER
    thoughts = "".join(event.delta for event in _of(events, EventType.REASONING_MESSAGE_CONTENT))
    assert thoughts == (THOUGHT if output is None else "")
    assert [event.tool_call_name for event in _of(events, EventType.TOOL_CALL_START)] == ["search"]
    assert [json.loads(event.delta) for event in _of(events, EventType.TOOL_CALL_ARGS)] == [{"query": QUERY}]
    (result,) = _of(events, EventType.TOOL_CALL_RESULT)
    assert json.loads(result.content)["results"][0]["content"] == PASSAGE
    (usage,) = events[-1].usage
    assert (usage.provider, usage.input_tokens, usage.output_tokens) == ("llama_cloud", 120, 34)


@pytest.mark.parametrize("output", ["blocks", "text"])
async def test_the_last_snapshot_keeps_the_whole_answer(output: str, service: Service) -> None:
    snapshot = _of(await _events(_agent(service, output=output)), EventType.MESSAGES_SNAPSHOT)[-1]
    assert [(message.role, message.content) for message in snapshot.messages] == [
        ("user", "How was Q3?"),
        ("assistant", ANSWER),
    ]


async def test_in_v1_the_last_snapshot_keeps_the_first_segment_only(service: Service) -> None:
    """ag-ui-langgraph takes the first text block of a message, as the page says."""
    snapshot = _of(await _events(_agent(service, output_version="v1")), EventType.MESSAGES_SNAPSHOT)[-1]
    assert [message.content for message in snapshot.messages if message.role == "assistant"] == ["Let me look."]


async def test_a_second_run_of_the_thread_continues_the_session(service: Service) -> None:
    agent = _agent(service)
    snapshot = _of(await _events(agent), EventType.MESSAGES_SNAPSHOT)[-1]
    more = UserMessage(id="user-2", role="user", content="And Q4?")
    await _events(agent, run_id="again", messages=[*snapshot.messages, more])
    assert service.prompts == ["How was Q3?", "And Q4?"]
    assert service.session_id
