"""What LlamaIndex's own tests assert of its chat engines, memories and agents, asserted of these.

The tests there are bound to their classes, so the assertions are written anew; each test names the
file of llama-index-core's tests that it takes them from.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentOutput, AgentStream, AgentWorkflow
from llama_index.core.base.llms.types import ChatMessage, MessageRole, TextBlock, ThinkingBlock
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.workflow import Context

from chat_sessions import Event, Stop, Text, TextDelta, TurnError, Usage, UserInput
from chat_sessions.llama_index import SessionAgent, SessionChatEngine
from chat_sessions.server import AgentTurn
from tests.llama_index.conftest import ANSWER, Gate, ScriptedAgent, Serve, Wired
from tests.llama_index.reading import breaks_after, until

HELLO, MOON = "Hello World!", "What is the capital of the moon?"


class EchoAgent(ScriptedAgent):
    """Says what it was told in this session, as a model does that is given the whole history."""

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        told = [event.content for event in turn.history if isinstance(event, UserInput)]
        for character in "\n".join(told if turn.prompt in told else [*told, turn.prompt]):
            yield TextDelta(content=character)
        yield Stop(usage=Usage(), is_error=False)


@pytest.fixture
def echo(serve: Serve) -> SessionChatEngine:
    return SessionChatEngine(client=serve(agent=EchoAgent()))


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_chat_remembers_and_forgets_on_reset(echo: SessionChatEngine, is_async: bool) -> None:
    """chat_engine/test_simple.py and test_condense_plus_context.py: chat, achat, reset."""

    async def chat(message: str) -> str:
        return str(await echo.achat(message) if is_async else echo.chat(message))

    echo.reset()
    assert HELLO in await chat(HELLO)
    assert len(echo.chat_history) == 2
    second = await chat(MOON)
    assert HELLO in second
    assert MOON in second
    assert len(echo.chat_history) == 4
    echo.reset()
    assert HELLO not in await chat(MOON)


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_streamed_chat_is_the_same(echo: SessionChatEngine, is_async: bool) -> None:
    """chat_engine/test_simple.py and test_condense_plus_context.py: stream_chat, astream_chat."""
    for count, message in enumerate((HELLO, MOON), start=1):
        if is_async:
            response = await echo.astream_chat(message)
            pieces = [piece async for piece in response.async_response_gen()]
        else:
            response = echo.stream_chat(message)
            pieces = list(response.response_gen)
        assert len(pieces) > 10
        assert "".join(pieces).rstrip() == str(response)
        assert HELLO in response.unformatted_response
        assert message in response.unformatted_response
        assert len(echo.chat_history) == 2 * count


async def test_the_text_is_there_after_the_stock_task_without_reading_the_stream(echo: SessionChatEngine) -> None:
    """chat_engine/test_simple.py: astream_response_text_without_draining."""
    response = await echo.astream_chat(HELLO)
    assert response.awrite_response_to_history_task is not None
    await response.awrite_response_to_history_task
    assert response.response != ""
    assert str(response) == response.response
    assert HELLO in str(response)


def test_an_error_in_the_stream_is_raised_and_is_left_in_no_task(wired: Wired) -> None:
    """chat_engine/test_simple.py: astream_exception_handling."""
    engine = wired(breaks_after(3))
    left: list[str] = []

    async def read() -> None:
        response = await engine.astream_chat(HELLO)
        with pytest.raises(TurnError):
            await response.adrain()

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: left.append(str(context.get("message"))))
    loop.run_until_complete(read())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    gc.collect()
    assert left == []


def test_a_turn_is_not_lost_when_its_stream_is_not_read_to_the_end(serve: Serve) -> None:
    """chat_engine/test_condense_plus_context.py: stream_chat_memory_not_lost_on_incomplete_consumption."""
    gate = Gate()
    engine = SessionChatEngine(client=serve((TextDelta(content="Hello "), gate, TextDelta(content="yourself."))))
    response = engine.stream_chat(HELLO)
    assert engine.chat_history[0].role == MessageRole.USER
    assert HELLO in str(engine.chat_history[0].content)
    for _ in response.response_gen:
        break
    assert response.is_done
    gate.open()
    until(lambda: engine.session.turns()[0].is_complete)
    assert [message.role for message in engine.chat_history] == [MessageRole.USER, MessageRole.ASSISTANT]


async def test_the_stock_task_reads_on_after_a_break(serve: Serve) -> None:
    """chat_engine/test_condense_plus_context.py: astream_chat_memory_not_lost_on_incomplete_consumption."""
    engine = SessionChatEngine(client=serve(agent=EchoAgent()))
    response = await engine.astream_chat(HELLO)
    async for _ in response.async_response_gen():
        break
    assert response.awrite_response_to_history_task is not None
    await response.awrite_response_to_history_task
    assert len(await engine.achat_history()) == 2
    assert str(response) == HELLO


def test_thinking_stays_in_the_history_beside_the_text(serve: Serve) -> None:
    """chat_engine/test_streaming_history.py: multi-block messages."""
    script = (ANSWER[2], Text(content="Revenue was 84.2."), ANSWER[-1])
    engine = SessionChatEngine(client=serve(script))
    engine.stream_chat(HELLO).drain()
    (_, answer) = engine.chat_history
    assert [type(block) for block in answer.blocks] == [ThinkingBlock, TextBlock]
    assert answer.content == "Revenue was 84.2."


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_answer_may_be_written_into_another_memory(serve: Serve, is_async: bool) -> None:
    """chat_engine/test_simple.py and test_streaming_history.py: write_response_to_history."""
    memory = ChatMemoryBuffer.from_defaults()
    engine = SessionChatEngine(client=serve(ANSWER[5:]))
    if is_async:
        await (await engine.astream_chat(HELLO)).awrite_response_to_history(memory)
    else:
        engine.stream_chat(HELLO).write_response_to_history(memory)
    assert [message.content for message in memory.get_all()] == ["Revenue was 84.2."]


async def test_what_is_put_comes_back_in_its_order(echo: SessionChatEngine) -> None:
    """memory/test_memory_base.py: aget, aget_all, areset, on what a session holds."""
    echo.chat("Message 1")
    echo.chat("Message 2")
    messages = await echo.memory.aget()
    assert [message.content for message in messages[::2]] == ["Message 1", "Message 2"]
    assert messages == await echo.memory.aget_all()
    await echo.memory.areset()
    assert await echo.memory.aget() == []


def test_every_tool_message_is_preceded_by_an_assistant(serve: Serve) -> None:
    """memory/test_memory_base.py: manage_queue_with_tool_messages."""
    engine = SessionChatEngine(client=serve())
    engine.chat(HELLO)
    messages = engine.chat_history
    assert messages[0].role == MessageRole.USER
    for before, message in itertools.pairwise(messages):
        if message.role == MessageRole.TOOL:
            assert before.role in (MessageRole.ASSISTANT, MessageRole.TOOL)


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
class TestAgents:
    async def test_an_agent_answers_after_its_events_were_read(self, serve: Serve) -> None:
        """agent/workflow/test_single_agent_workflow.py: single_function_agent."""
        handler = SessionAgent(client=serve()).run(user_msg="test", memory=ChatMemoryBuffer.from_defaults())
        async for _ in handler.stream_events():
            pass
        response: object = await handler
        assert isinstance(response, AgentOutput)
        assert "Revenue was 84.2." in str(response.response)

    async def test_thinking_is_streamed_apart_from_text_and_never_carried_on(self, serve: Serve) -> None:
        """agent/workflow/test_thinking_delta.py."""
        handler = SessionAgent(client=serve()).run(user_msg="test")
        streams = [event async for event in handler.stream_events() if isinstance(event, AgentStream)]
        assert [event.thinking_delta for event in streams] == ["I look ", "it up.", None, None, None]
        assert [event.delta for event in streams] == ["", "", "Revenue ", "was ", "84.2."]

    async def test_a_workflow_knows_its_agents_and_needs_a_root(self, serve: Serve) -> None:
        """agent/workflow/test_multi_agent_workflow.py: basic_workflow, workflow_requires_root_agent."""
        chat = serve()
        agents = [SessionAgent(client=chat, name=name, description=f"Is {name}.") for name in ("one", "two")]
        workflow = AgentWorkflow(agents=[*agents], root_agent="one")
        assert set(workflow.agents) == {"one", "two"}
        with pytest.raises(ValueError, match="root agent"):
            AgentWorkflow(agents=[*agents])

    async def test_a_context_is_used_again(self, serve: Serve) -> None:
        """agent/workflow/test_multi_agent_workflow.py: run args on a reused context."""
        chat = serve()
        agent = SessionAgent(client=chat)
        ctx: Context[Any] = Context(agent)
        for message in ("One?", ChatMessage(role=MessageRole.USER, content="Two?")):
            await agent.run(user_msg=message, ctx=ctx)
        (summary,) = chat.list()
        assert [turn.prompt for turn in chat.session(summary.session_id).turns()] == ["One?", "Two?"]

    async def test_a_user_message_or_a_history_is_needed(self, serve: Serve) -> None:
        """agent/workflow/base_agent.py: what a run has to be given."""
        with pytest.raises(ValueError, match="user_msg or chat_history"):
            await SessionAgent(client=serve()).run()
