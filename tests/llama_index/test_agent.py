from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.agent.workflow import (
    AgentOutput,
    AgentStream,
    AgentWorkflow,
    FunctionAgent,
    ToolCall,
    ToolCallResult,
)
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock, ThinkingBlock
from llama_index.core.base.response.schema import Response
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.schema import NodeWithScore
from llama_index.core.workflow import Context, JsonSerializer
from workflows.errors import WorkflowCancelledByUser

from chat_sessions import ConfigurationError, NotFoundError, Stop, TextDelta, TurnFailed, Usage
from chat_sessions.llama_index import RemoteHistoryAppendOnlyError, SessionAgent, SessionChatEngine
from chat_sessions.llama_index.memory.run_memory import RunMemory
from tests.llama_index.checklist import proves
from tests.llama_index.conftest import ANSWER, PASSAGE, Gate, ScriptedAgent, Serve
from tests.llama_index.handing_off import HandsOff
from tests.llama_index.reading import CANCELS

# A workflow agent of LlamaIndex, of whatever kind, has each of its attributes looked at when it is made.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")


def shown(events: list[Any]) -> list[str]:
    """The events of a run that a user interface shows."""
    lines: list[str] = []
    for event in events:
        if isinstance(event, AgentStream):
            lines.append(f"thinks {event.thinking_delta!r}" if event.thinking_delta else f"says {event.delta!r}")
        elif isinstance(event, ToolCallResult):
            lines.append(f"result {event.tool_name} {event.tool_id}")
        elif isinstance(event, ToolCall):
            lines.append(f"call {event.tool_name} {event.tool_id} {event.tool_kwargs}")
    return lines


ANSWER_SHOWN = [
    "thinks 'I look '",
    "thinks 'it up.'",
    "call retrieve c1 {'query': 'revenue'}",
    "result retrieve c1",
    "says 'Revenue '",
    "says 'was '",
    "says '84.2.'",
]


def raw_of(output: AgentOutput) -> dict[str, Any]:
    assert isinstance(output.raw, dict)
    return output.raw


async def run(agent: SessionAgent | AgentWorkflow, **kwargs: Any) -> tuple[list[Any], AgentOutput]:
    handler = agent.run(**kwargs)
    events = [event async for event in handler.stream_events()]
    output = await handler
    assert isinstance(output, AgentOutput)
    return events, output


@proves(53, 55)
async def test_an_agent_streams_what_happens_in_order_and_gives_the_answer(serve: Serve) -> None:
    events, output = await run(SessionAgent(client=serve()), user_msg="How much?")
    assert shown(events) == ANSWER_SHOWN
    assert str(output) == "Revenue was 84.2."
    assert [block.content for block in output.response.blocks if isinstance(block, ThinkingBlock)] == ["I look it up."]
    assert raw_of(output)["usage"] == {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    streamed = [event for event in events if isinstance(event, AgentStream)]
    assert streamed[-1].response == "Revenue was 84.2."
    assert all(event.tool_calls == [] for event in streamed)


@proves(55)
async def test_the_tools_of_the_service_are_not_run_here_and_are_in_the_result(serve: Serve) -> None:
    events, output = await run(SessionAgent(client=serve()), user_msg="How much?")
    (written,) = [event for event in events if isinstance(event, AgentOutput)]
    assert written.response == output.response
    assert [call.tool_name for call in output.tool_calls] == ["retrieve"]
    assert not any("not found" in str(event) for event in events)


@proves(56)
async def test_a_tool_result_has_its_source_nodes(serve: Serve) -> None:
    events, _ = await run(SessionAgent(client=serve()), user_msg="How much?")
    (result,) = [event for event in events if isinstance(event, ToolCallResult)]
    answer = result.tool_output.raw_output
    assert isinstance(answer, Response)
    (node,) = answer.source_nodes
    assert isinstance(node, NodeWithScore)
    assert (node.text, node.score, node.metadata["page"]) == (PASSAGE["content"], 0.9, 3)


@proves(53)
async def test_an_agent_works_as_the_only_one_of_an_agent_workflow(serve: Serve) -> None:
    events, output = await run(AgentWorkflow(agents=[SessionAgent(client=serve())]), user_msg="How much?")
    assert shown(events) == ANSWER_SHOWN
    assert str(output) == "Revenue was 84.2."


@proves(53)
async def test_an_agent_is_handed_to_within_an_agent_workflow(serve: Serve) -> None:
    hosted = ScriptedAgent()
    reports = SessionAgent(client=serve(agent=hosted), name="reports", description="Knows the annual reports.")
    front = FunctionAgent(name="front", description="Greets.", llm=HandsOff(max_tokens=None))
    workflow = AgentWorkflow(agents=[front, reports], root_agent="front")
    memory = ChatMemoryBuffer.from_defaults(llm=front.llm)
    events, output = await run(workflow, user_msg="How much?", memory=memory)
    assert hosted.prompts == ["How much?"]
    assert output.current_agent_name == "reports"
    assert str(output) == "Revenue was 84.2."
    assert shown(events)[-7:] == ANSWER_SHOWN
    assert [call.tool_name for call in output.tool_calls] == ["handoff", "retrieve"]
    assert memory.get_all()[-1].content == "Revenue was 84.2."


async def test_runs_with_one_context_are_one_session_also_after_it_was_stored(serve: Serve) -> None:
    chat = serve()
    agent = SessionAgent(client=chat, name="reports 2.0")
    ctx: Context[Any] = Context(agent)
    await run(agent, user_msg="One?", ctx=ctx)
    stored = ctx.to_dict(serializer=JsonSerializer())
    again = Context.from_dict(agent, stored, serializer=JsonSerializer())
    await run(agent, user_msg="Two?", ctx=again)
    (summary,) = chat.list()
    assert [turn.prompt for turn in chat.session(summary.session_id).turns()] == ["One?", "Two?"]


def test_the_memory_of_a_run_is_a_list_of_messages() -> None:
    one, other = (ChatMessage(role=MessageRole.USER, content=text) for text in ("One?", "Two?"))
    memory = RunMemory.from_defaults()
    memory.put(one)
    asyncio.run(memory.aput_messages([other]))
    assert memory.get() == memory.get_all() == asyncio.run(memory.aget_all()) == [one, other]
    assert RunMemory.from_json(memory.to_json()) == memory
    memory.set([other])
    asyncio.run(memory.aset([one]))
    assert memory.get() == [one]
    asyncio.run(memory.areset())
    assert memory.get() == []


async def test_runs_without_a_context_are_sessions_of_their_own(serve: Serve) -> None:
    chat = serve()
    agent = SessionAgent(client=chat)
    await asyncio.gather(run(agent, user_msg="One?"), run(agent, user_msg="Two?"))
    assert len(list(chat.list())) == 2


async def test_an_agent_of_a_session_goes_on_in_it(serve: Serve) -> None:
    chat = serve()
    session_id = chat.create().session_id
    agent = SessionAgent(client=chat, session_id=session_id)
    for question in ("One?", "Two?"):
        _, output = await run(agent, user_msg=question)
        assert raw_of(output)["session_id"] == session_id
    assert len(chat.session(session_id).turns()) == 2


@proves(54)
async def test_cancelling_a_run_closes_the_socket(serve: Serve) -> None:
    gate = Gate()
    hosted = ScriptedAgent((ANSWER[3], TextDelta(content="first"), gate))
    handler = SessionAgent(client=serve(agent=hosted, behaviour=CANCELS)).run(user_msg="How much?")
    async for event in handler.stream_events():
        if isinstance(event, AgentStream):
            await handler.cancel_run()
    with pytest.raises(WorkflowCancelledByUser):
        await handler
    assert await asyncio.to_thread(hosted.ended.wait, 10)


@proves(54)
async def test_an_error_of_the_turn_is_raised_by_awaiting_the_run(serve: Serve) -> None:
    script = (*ANSWER[:4], Stop(usage=Usage(), is_error=True, error="broken"))
    agent = SessionAgent(client=serve(script))
    handler = agent.run(user_msg="How much?")
    events: list[Any] = []

    async def read() -> None:
        async for event in handler.stream_events():
            events.append(event)
        await handler

    with pytest.raises(TurnFailed, match="broken"):
        await read()
    # Whoever shows a tool as running is told that it ended.
    (result,) = [event for event in events if isinstance(event, ToolCallResult)]
    assert result.tool_output.is_error
    with pytest.raises(NotFoundError):
        await SessionAgent(client=serve(), session_id="ses-unknown", index_ids=["idx"]).run(user_msg="How much?")


@pytest.mark.parametrize("setting", ["tools", "can_handoff_to", "output_cls", "system_prompt", "llm"])
def test_what_a_hosted_agent_cannot_obey_is_refused(serve: Serve, setting: str) -> None:
    settings: dict[str, Any] = {setting: None}
    with pytest.raises(ConfigurationError, match=f"takes no {setting}"):
        SessionAgent(client=serve(), **settings)


def test_a_bad_policy_is_refused(serve: Serve) -> None:
    with pytest.raises(ConfigurationError, match="on_chat_history"):
        SessionAgent(client=serve(), on_chat_history="drop")  # type: ignore[arg-type]


@proves(23)
async def test_a_history_that_the_session_does_not_have_follows_the_policy(serve: Serve) -> None:
    hosted = ScriptedAgent()
    chat = serve(agent=hosted)
    other = [
        ChatMessage(role=MessageRole.USER, content="Before?"),
        ChatMessage(role=MessageRole.ASSISTANT, content="Yes."),
    ]
    with pytest.raises(ValueError, match="chat_history differs"):
        await run(SessionAgent(client=chat), user_msg="How much?", chat_history=other)
    asked = ChatMessage(role=MessageRole.USER, content="How much?")
    with pytest.raises(ValueError, match="chat_history differs"):
        await run(SessionAgent(client=chat), chat_history=[*other, asked])
    assert hosted.prompts == []
    with pytest.warns(UserWarning, match="own history"):
        await run(SessionAgent(client=chat, on_chat_history="warn"), user_msg="How much?", chat_history=other)
    await run(SessionAgent(client=chat, on_chat_history="ignore"), chat_history=[*other, asked])
    await run(SessionAgent(client=chat), chat_history=[asked])
    assert hosted.prompts == ["How much?"] * 3


async def test_the_sessions_own_history_is_taken(serve: Serve) -> None:
    engine = SessionChatEngine(client=serve())
    engine.chat("One?")
    agent = SessionAgent(client=engine.client, session_id=engine.session_id)
    await run(agent, user_msg="Two?", chat_history=engine.chat_history)
    assert len(engine.session.turns()) == 2


async def test_a_memory_with_answers_that_a_new_session_does_not_know_follows_the_policy(serve: Serve) -> None:
    hosted = ScriptedAgent()
    chat = serve(agent=hosted)
    agent, memory = SessionAgent(client=chat), RunMemory()
    await run(agent, user_msg="One?", memory=memory)
    with pytest.raises(ConfigurationError, match="memory has answers of earlier runs"):
        await run(agent, user_msg="Two?", memory=memory)
    assert hosted.prompts == ["One?"]
    with pytest.warns(UserWarning, match="give each run the same ctx"):
        await run(SessionAgent(client=chat, on_chat_history="warn"), user_msg="Two?", memory=memory)
    await run(SessionAgent(client=chat, on_chat_history="ignore"), user_msg="Three?", memory=memory)
    assert hosted.prompts == ["One?", "Two?", "Three?"]


async def test_a_memory_with_the_answers_of_a_context_is_taken(serve: Serve) -> None:
    hosted = ScriptedAgent()
    agent, memory = SessionAgent(client=serve(agent=hosted)), RunMemory()
    conversation = Context(agent)
    for question in ("One?", "Two?"):
        await run(agent, user_msg=question, memory=memory, ctx=conversation)
    assert hosted.prompts == ["One?", "Two?"]
    assert len(memory.messages) == 4


async def test_the_memory_of_a_session_cannot_be_the_memory_of_a_run(serve: Serve) -> None:
    engine = SessionChatEngine(client=serve())
    with pytest.raises(RemoteHistoryAppendOnlyError):
        await run(SessionAgent(client=engine.client), user_msg="How much?", memory=engine.memory)


async def test_an_agent_that_does_not_stream_gives_its_tools_and_its_answer(serve: Serve) -> None:
    events, output = await run(SessionAgent(client=serve(), streaming=False), user_msg="How much?")
    assert shown(events) == ["call retrieve c1 {'query': 'revenue'}", "result retrieve c1"]
    assert str(output) == "Revenue was 84.2."


async def test_a_result_whose_call_was_not_seen_gets_one(serve: Serve) -> None:
    events, _ = await run(SessionAgent(client=serve((ANSWER[4], ANSWER[-1]))), user_msg="How much?")
    assert shown(events) == ["call retrieve c1 {}", "result retrieve c1"]


async def test_a_run_without_words_is_refused(serve: Serve) -> None:
    empty = ChatMessage(role=MessageRole.USER, blocks=[])
    with pytest.raises(ConfigurationError, match="no user message"):
        await SessionAgent(client=serve()).run(user_msg=empty)
    picture = ChatMessage(
        role=MessageRole.USER,
        blocks=[TextBlock(text="What is this?"), ImageBlock(url="https://example.com/a.png")],
    )
    with pytest.raises(ConfigurationError, match="text only, and the prompt has an image"):
        await SessionAgent(client=serve()).run(user_msg=picture)


async def test_a_prompt_that_is_too_long_leaves_no_trace_open(serve: Serve) -> None:
    handler = LlamaDebugHandler(print_trace_on_end=False)
    agent = SessionAgent(client=serve(), callback_manager=CallbackManager([handler]))
    with pytest.raises(ConfigurationError, match="1,001 characters"):
        await agent.run(user_msg="x" * 1001)
    assert handler.get_events() == []


def test_the_model_that_an_agent_does_not_have_is_never_asked(serve: Serve) -> None:
    llm = SessionAgent(client=serve()).llm
    assert not isinstance(llm, FunctionCallingLLM)
    for ask in (llm.complete, llm.stream_complete):
        with pytest.raises(NotImplementedError, match="no model on this side"):
            ask("Hello")
