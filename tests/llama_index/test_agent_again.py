"""An agent that runs again in a context: after a run that was cut short, and in a store that takes few types."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentOutput, AgentStream, ToolCallResult
from llama_index.core.workflow import Context, JsonSerializer
from workflows.errors import WorkflowCancelledByUser, WorkflowTimeoutError

from chat_sessions import (
    APIConnectionError,
    LlamaCloudChat,
    NotFoundError,
    Stop,
    Text,
    TextDelta,
    Timeouts,
    TurnFailed,
    TurnInterrupted,
    Usage,
    UserInput,
)
from chat_sessions.llama_index import SessionAgent
from chat_sessions.llama_index.agent.sent_prompt import SentPrompt
from tests.llama_index.conftest import ANSWER, KEY, Gate, ScriptedAgent, Serve, Wired

pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")

SLOW = (*ANSWER[:5], TextDelta(content="first "))
Again = Callable[[SessionAgent, Context[Any]], Context[Any]]


def same(agent: SessionAgent, ctx: Context[Any]) -> Context[Any]:
    return ctx


def stored(agent: SessionAgent, ctx: Context[Any]) -> Context[Any]:
    """The context as another process finds it, which knows the types of the workflow's events alone."""
    closed = JsonSerializer(allowed_types=agent.events)
    return Context.from_dict(agent, ctx.to_dict(serializer=JsonSerializer()), serializer=closed)


SAME_OR_STORED = pytest.mark.parametrize("again", [same, stored])


def prompts(chat: LlamaCloudChat) -> list[str | None]:
    (summary,) = chat.list()
    return [turn.prompt for turn in chat.session(summary.session_id).turns()]


async def test_a_prompt_that_the_service_normalised_and_escaped_is_found(wired: Wired) -> None:
    history = [UserInput(content="\u00e9 &lt; b").model_dump(), Text(content="yes").model_dump()]
    client = wired(lambda _, connection: connection.reset(), history=history).client
    found = await SentPrompt(prompt="e\u0301 < b", turns=0).turn_in(client.aio.session("ses-1"))
    assert found is not None
    assert found.turn.text == "yes"


async def cancelled(agent: SessionAgent, ctx: Context[Any], question: str = "How much?") -> None:
    """A run that is cancelled when the answer begins."""
    handler = agent.run(user_msg=question, ctx=ctx)
    async for event in handler.stream_events():
        if isinstance(event, AgentStream) and event.delta:
            await handler.cancel_run()
    with pytest.raises(WorkflowCancelledByUser):
        await handler


@SAME_OR_STORED
async def test_a_prompt_whose_run_was_cancelled_is_not_sent_again(serve: Serve, again: Again) -> None:
    gate = Gate()
    hosted = ScriptedAgent((*SLOW, gate, TextDelta(content="second"), ANSWER[-1]))
    chat = serve(agent=hosted)
    agent = SessionAgent(client=chat)
    ctx: Context[Any] = Context(agent)
    await cancelled(agent, ctx)
    gate.open()
    handler = agent.run(user_msg="How much?", ctx=again(agent, ctx))
    events = [event async for event in handler.stream_events()]
    output = await handler
    assert isinstance(output, AgentOutput)
    assert str(output) == "first second"
    assert hosted.prompts == prompts(chat) == ["How much?"]
    assert sum(isinstance(event, ToolCallResult) for event in events) == 1


async def test_a_prompt_whose_run_timed_out_is_not_sent_again(serve: Serve) -> None:
    gate = Gate()
    hosted = ScriptedAgent((*SLOW, gate, ANSWER[-1]))
    chat = serve(agent=hosted)
    agent = SessionAgent(client=chat, timeout=2)
    ctx: Context[Any] = Context(agent)
    with pytest.raises(WorkflowTimeoutError):
        await agent.run(user_msg="How much?", ctx=ctx)
    gate.open()
    patient = SessionAgent(client=chat)
    assert str(await patient.run(user_msg="How much?", ctx=stored(patient, ctx))) == "first"
    assert hosted.prompts == ["How much?"]


@SAME_OR_STORED
async def test_another_prompt_is_sent_alone_after_a_run_that_was_cancelled(serve: Serve, again: Again) -> None:
    gate = Gate()
    hosted = ScriptedAgent((*SLOW, gate, ANSWER[-1]), ANSWER)
    chat = serve(agent=hosted)
    agent = SessionAgent(client=chat)
    ctx: Context[Any] = Context(agent)
    await cancelled(agent, ctx)
    gate.open()
    assert await asyncio.to_thread(hosted.ended.wait, 10)
    while not chat.session(next(iter(chat.list())).session_id).turns()[-1].is_complete:
        pass
    ctx = again(agent, ctx)
    if ctx.is_running:
        # A stored context goes on with the run that was cut short, and takes no other message before.
        assert str(await agent.run(ctx=ctx)) == "first"
    assert str(await agent.run(user_msg="And now?", ctx=ctx)) == "Revenue was 84.2."
    assert hosted.prompts == prompts(chat) == ["How much?", "And now?"]


async def test_a_question_that_was_answered_may_be_asked_again(serve: Serve) -> None:
    hosted = ScriptedAgent()
    agent = SessionAgent(client=serve(agent=hosted))
    ctx: Context[Any] = Context(agent)
    for _ in range(2):
        await agent.run(user_msg="How much?", ctx=ctx)
    assert hosted.prompts == ["How much?"] * 2


async def test_a_question_whose_turn_failed_may_be_asked_again(serve: Serve) -> None:
    hosted = ScriptedAgent((Stop(usage=Usage(), is_error=True, error="broken"),), ANSWER)
    agent = SessionAgent(client=serve(agent=hosted))
    ctx: Context[Any] = Context(agent)
    with pytest.raises(TurnFailed):
        await agent.run(user_msg="How much?", ctx=ctx)
    assert str(await agent.run(user_msg="How much?", ctx=ctx)) == "Revenue was 84.2."


async def test_a_turn_that_does_not_end_in_time_is_an_error_and_is_not_sent_again(serve: Serve) -> None:
    hosted = ScriptedAgent((*SLOW, Gate()))
    agent = SessionAgent(client=serve(agent=hosted, timeouts=Timeouts(recovery=0)))
    ctx: Context[Any] = Context(agent)
    await cancelled(agent, ctx)
    with pytest.raises(TurnInterrupted, match="was sent before and is not sent again"):
        await agent.run(user_msg="How much?", ctx=ctx)
    assert hosted.prompts == ["How much?"]


async def test_a_run_that_the_service_refused_is_sent_when_it_runs_again(serve: Serve) -> None:
    agent = SessionAgent(client=serve(), session_id="ses-unknown", index_ids=["idx"])
    ctx: Context[Any] = Context(agent)
    for _ in range(2):
        with pytest.raises(NotFoundError):
            await agent.run(user_msg="How much?", ctx=ctx)


async def test_a_session_that_cannot_be_read_does_not_have_the_prompt_sent_again(
    serve: Serve,
) -> None:
    gate = Gate()
    hosted = ScriptedAgent((*SLOW, gate, ANSWER[-1]))
    chat = serve(agent=hosted)
    agent = SessionAgent(client=chat)
    ctx: Context[Any] = Context(agent)
    await cancelled(agent, ctx)
    gate.open()
    broken = SessionAgent(client=LlamaCloudChat(api_key=KEY, base_url="http://127.0.0.1:9", max_retries=0))
    with pytest.raises(APIConnectionError):
        await broken.run(user_msg="How much?", ctx=(again := stored(broken, ctx)))
    assert str(await agent.run(user_msg="How much?", ctx=stored(agent, again))) == "first"
    assert hosted.prompts == ["How much?"]


async def test_the_second_turn_runs_from_a_store_that_takes_the_types_of_events_alone(serve: Serve) -> None:
    chat = serve()
    agent = SessionAgent(client=chat)
    ctx: Context[Any] = Context(agent)
    await agent.run(user_msg="One?", ctx=ctx)
    await agent.run(user_msg="Two?", ctx=stored(agent, ctx))
    assert prompts(chat) == ["One?", "Two?"]
