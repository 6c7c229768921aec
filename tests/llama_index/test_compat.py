"""The names of LlamaIndex that are not promised: each still means what this adapter takes it for."""

from contextvars import copy_context
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.llms import MockLLM
from llama_index.core.memory import BaseMemory
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import Context
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.dispatcher import Dispatcher, Manager, instrument_tags
from llama_index_instrumentation.event_handlers import BaseEventHandler

from chat_sessions.llama_index._compat import MEMORY, RAN_TOOLS, call_tags, enclosing_span_id, is_heard, tag
from tests.llama_index.checklist import proves
from tests.llama_index.handing_off import HandsOff


class Ears(BaseEventHandler):
    def handle(self, event: BaseEvent, **kwargs: Any) -> None: ...


def dispatchers(*, propagate: bool) -> tuple[Dispatcher, Dispatcher]:
    """A root of its own, and a dispatcher below it."""
    root = Dispatcher(name="root", propagate=False)
    manager = Manager(root)
    below = Dispatcher(name="below", parent_name="root", manager=manager, propagate=propagate)
    manager.add_dispatcher(below)
    return root, below


@proves(42, 60)
def test_a_dispatcher_is_heard_through_its_own_handlers_and_those_above() -> None:
    root, below = dispatchers(propagate=True)
    assert not is_heard(below)
    root.add_event_handler(Ears())
    assert is_heard(below)
    root, below = dispatchers(propagate=False)
    root.add_event_handler(Ears())
    assert not is_heard(below)
    below.add_event_handler(Ears())
    assert is_heard(below)


@proves(29, 60)
def test_the_span_around_a_call_is_known_by_its_id() -> None:
    @get_dispatcher("test").span
    def around() -> str | None:
        return enclosing_span_id()

    assert enclosing_span_id() is None
    assert "around-" in str(around())


@proves(37, 60)
def test_the_tags_of_a_call_are_known() -> None:
    assert call_tags() == {}
    with instrument_tags({"user": "u-1"}):
        assert call_tags() == {"user": "u-1"}


@proves(37, 60)
def test_the_events_of_a_context_have_its_tags() -> None:
    seen: list[dict[str, Any]] = []

    class Keeps(BaseEventHandler):
        def handle(self, event: BaseEvent, **kwargs: Any) -> None:
            seen.append(event.tags)

    root, _ = dispatchers(propagate=True)
    root.add_event_handler(Keeps())
    context = copy_context()
    with instrument_tags({"user": "u-1"}):
        tag(context, {"session.id": "ses-1"})
    context.run(root.event, BaseEvent())
    root.event(BaseEvent())
    assert seen == [{"session.id": "ses-1", "user": "u-1"}, {}]


@proves(55, 60)
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
async def test_a_workflow_of_agents_adds_the_tools_that_ran_to_its_result() -> None:
    async def look(ctx: Context[Any]) -> str:
        """Look into the store."""
        seen.append([result.tool_name for result in await ctx.store.get(RAN_TOOLS, default=[])])
        return "seen"

    seen: list[list[str]] = []
    tool = FunctionTool.from_defaults(async_fn=look, return_direct=True)
    front = FunctionAgent(name="front", description="Greets.", llm=HandsOff(max_tokens=None))
    looking = HandsOff(max_tokens=None)
    looking.calls = "look"
    reports = FunctionAgent(name="reports", description="Knows.", llm=looking, tools=[tool])
    await AgentWorkflow(agents=[front, reports], root_agent="front").run(user_msg="How much?")
    assert seen == [["handoff"]]


@proves(60)
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
@pytest.mark.filterwarnings("ignore:is_running called from within a step")
async def test_a_run_of_an_agent_has_its_memory_in_the_store() -> None:
    agent = ReActAgent(llm=MockLLM(max_tokens=5), tools=[])
    ctx: Context[Any] = Context(agent)
    await agent.run(user_msg="How much?", ctx=ctx)
    assert isinstance(await ctx.store.get(MEMORY), BaseMemory)
