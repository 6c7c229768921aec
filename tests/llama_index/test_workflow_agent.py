"""An agent of LlamaIndex, served as sessions: what its run becomes, and how it fails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentStream, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ChatResponseAsyncGen, TextBlock, ToolCallBlock
from llama_index.core.base.response.schema import Response
from llama_index.core.bridge.pydantic import BaseModel, Field
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.tools import BaseTool
from llama_index.core.workflow import (
    Context,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StopEvent,
    Workflow,
    step,
)

from chat_sessions import LocalServer, TurnFailed
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.events import Event, Stop, Text, TextDelta, ToolCall, ToolResult, UserInput
from chat_sessions.llama_index import SessionAgent, WorkflowAgent
from chat_sessions.server import AgentTurn
from tests.llama_index.told_backend import told_client


class Model(MockFunctionCallingLLM):
    """Calls the tool first, then says what the tool gave."""

    seen: list[list[str]] = Field(default_factory=list[list[str]])

    async def astream_chat_with_tools(  # type: ignore[override]
        self, tools: Sequence[BaseTool], chat_history: list[ChatMessage] | None = None, **_: Any
    ) -> ChatResponseAsyncGen:
        messages = list(chat_history or ())
        self.seen.append([f"{message.role.value}: {message.content}" for message in messages])

        async def answer() -> ChatResponseAsyncGen:
            if messages[-1].role.value == "tool":
                for end in (4, 8):
                    text = "It is 40"[:end]
                    message = ChatMessage(role="assistant", blocks=[TextBlock(text=text)])
                    yield ChatResponse(message=message, delta=text[end - 4 :])
                return
            call = ToolCallBlock(tool_call_id="c1", tool_name="count", tool_kwargs={"what": "cars"})
            yield ChatResponse(message=ChatMessage(role="assistant", blocks=[call]), delta="")

        return answer()


def count(what: str) -> str:
    """Count things."""
    if what != "cars":
        raise ValueError("nothing else is counted")
    return "40"


class Echo(Workflow):
    @step
    async def answer(self, context: Context, start: StartEvent) -> StopEvent:
        if start.user_msg == "Fail?":
            raise RuntimeError("the pump is broken")
        if start.user_msg == "Stream?":
            context.write_event_to_stream(
                AgentStream(delta="Streamed.", response="", current_agent_name="a", tool_calls=[], raw=None)
            )
        return StopEvent(result=f"{start.user_msg} after {len(start.chat_history)}")


async def events_of(agent: WorkflowAgent, prompt: str = "How many?", history: Sequence[Event] = ()) -> list[Event]:
    return [event async for event in agent.run(AgentTurn("ses-1", prompt, [], history))]


# LlamaIndex's workflows look at every attribute of an agent, pydantic's old ones too.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
async def test_tokens_tool_calls_and_results_are_the_events_of_the_turn() -> None:
    model = Model()
    agent = WorkflowAgent(FunctionAgent(tools=[count], llm=model, system_prompt="Count."))
    history: list[Event] = [UserInput(content="Hello?"), Text(content="Yes?")]
    events = await events_of(agent, history=history)
    assert events == [
        ToolCall(call_id="c1", name="count", arguments={"what": "cars"}),
        ToolResult(call_id="c1", name="count", result={"content": "40"}),
        TextDelta(content="It i"),
        TextDelta(content="s 40"),
        events[-1],
    ]
    assert isinstance(events[-1], Stop)
    assert events[-1].usage.turns == 2
    assert model.seen[0] == ["system: Count.", "user: Hello?", "assistant: Yes?", "user: How many?"]


async def test_the_result_of_a_workflow_is_the_answer_unless_it_streamed_one() -> None:
    agent = WorkflowAgent(Echo())
    assert [event.content for event in await events_of(agent, "Hi") if isinstance(event, Text)] == ["Hi after 0"]
    streamed = await events_of(agent, "Stream?")
    assert [event.content for event in streamed if isinstance(event, Text | TextDelta)] == ["Streamed."]


def test_a_session_of_the_workflow_is_used_like_any_other(tmp_path: Any) -> None:
    (tmp_path / "a.md").write_text("The ferry carries 40 cars.")
    with LocalServer(indexes={"idx-a": tmp_path}, agent=WorkflowAgent(Echo())) as server:
        session = server.client().session()
        assert session.ask("Hi").text == "Hi after 0"
        assert session.ask("Again").text == "Again after 2"
        with pytest.raises(TurnFailed, match="the pump is broken"):
            session.ask("Fail?")


def test_what_is_no_workflow_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="takes an agent or workflow of LlamaIndex; this is of type str"):
        WorkflowAgent("agent")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


class Count(BaseModel):
    cars: int = 40


class Counted(StopEvent):
    answer: str = "40 cars"
    certainty: float = 0.5


# Its checked arguments lack those of the base class.
COUNTED: Any = Counted


class Said(StopEvent):
    said: ChatResponse


class Compared(StopEvent):
    before: str
    after: str


class Numbered(StopEvent):
    cars: int
    boats: int | None = None


REPLY = ChatMessage(role="assistant", content="40 cars")


@pytest.mark.parametrize(
    ("stop", "answer"),
    [
        pytest.param(StopEvent(result=REPLY), "40 cars", id="message"),
        pytest.param(StopEvent(result=ChatResponse(message=REPLY)), "40 cars", id="chat response"),
        pytest.param(StopEvent(result=Response("40 cars")), "40 cars", id="response"),
        pytest.param(StopEvent(result=Count()), '{"cars":40}', id="model"),
        pytest.param(StopEvent(result={"cars": 40, "unit": "Stück"}), '{"cars":40,"unit":"Stück"}', id="mapping"),
        pytest.param(StopEvent(result=["40", None]), '["40",null]', id="list"),
        pytest.param(StopEvent(result=40), "40", id="number"),
        pytest.param(StopEvent(), "", id="nothing"),
        pytest.param(StopEvent(answer="40 cars"), "40 cars", id="a field of its own"),
        pytest.param(Counted(), "40 cars", id="typed"),
        pytest.param(Said(said=ChatResponse(message=REPLY)), "40 cars", id="typed with a response"),
        pytest.param(COUNTED(result="41 cars"), "41 cars", id="typed with a result"),
        pytest.param(Compared(before="39", after="40"), '{"before":"39","after":"40"}', id="typed with two texts"),
        pytest.param(Numbered(cars=40), '{"cars":40}', id="typed without text"),
    ],
)
async def test_the_answer_is_the_text_of_the_result_or_json(stop: StopEvent, answer: str) -> None:
    class Ends(Workflow):
        async def end(self, start: StartEvent) -> StopEvent:
            return stop

        # A step says exactly how it ends.
        end.__annotations__.update({"start": StartEvent, "return": type(stop)})
        ending = step(end)

    events = await events_of(WorkflowAgent(Ends()))
    assert "".join(event.content for event in events if isinstance(event, Text)) == answer


class Asks(Workflow):
    """Asks a human in a step that waits, and in one that ends."""

    @step
    async def ask(self, context: Context, start: StartEvent) -> InputRequiredEvent | StopEvent:
        if start.user_msg == "Wait":
            await context.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent())
        return InputRequiredEvent()

    @step
    async def hear(self, _: HumanResponseEvent) -> StopEvent:
        return StopEvent(result="heard")


@pytest.mark.parametrize("prompt", ["Wait", "Ask"])
async def test_a_workflow_that_waits_for_a_human_fails_at_once(prompt: str) -> None:
    with pytest.raises(RuntimeError, match="waits for a human's answer, which a session cannot give it"):
        await events_of(WorkflowAgent(Asks(timeout=10)), prompt)


async def test_a_workflow_that_answers_itself_goes_on() -> None:
    class Answers(Asks):
        @step
        async def answer(self, context: Context, start: StartEvent) -> None:
            context.send_event(HumanResponseEvent())

    events = await events_of(WorkflowAgent(Answers(timeout=10)), "Ask")
    assert [event.content for event in events if isinstance(event, Text)] == ["heard"]


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
def test_an_agent_whose_sessions_are_elsewhere_is_refused() -> None:
    served = SessionAgent(client=told_client([]))
    with pytest.raises(ConfigurationError, match=r"takes no SessionAgent.*Use that service's sessions themselves"):
        WorkflowAgent(served)
