"""`serve --agent module:object`: which objects are agents, and what is said of others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chat_sessions.cli.errors import UnknownName
from chat_sessions.cli.where.named_agent import named_agent
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.langchain import GraphAgent
from chat_sessions.llama_index import WorkflowAgent
from tests.cli.conftest import DOCUMENTS, Commands

MODULE = """
from chat_sessions import TextDelta
from langgraph.graph import START, MessagesState, StateGraph
from llama_index.core.workflow import StartEvent, StopEvent, Workflow, step

class Echo:
    async def run(self, turn):
        yield TextDelta(content=turn.prompt)

class Flow(Workflow):
    @step
    async def answer(self, start: StartEvent) -> StopEvent:
        return StopEvent(result="done")

class agents:
    echo = Echo()

flow = Flow()
built = StateGraph(MessagesState).add_node("a", lambda state: {}).add_edge(START, "a")
graph = built.compile()
number = 5
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_agents.py").write_text(MODULE)
    (tmp_path / "lacking.py").write_text("import a_package_that_nobody_has")
    (tmp_path / "torn.py").write_text("x = (")
    (tmp_path / "raising.py").write_text("raise RuntimeError('no database')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("own_agents", None)


def test_objects_of_the_frameworks_are_wrapped_and_agents_taken_as_they_are() -> None:
    assert type(named_agent("own_agents:agents.echo")).__name__ == "Echo"
    assert isinstance(named_agent("own_agents:flow"), WorkflowAgent)
    assert isinstance(named_agent("own_agents:graph"), GraphAgent)


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("own_agents", ConfigurationError, "name a module and the object in it, such as my_agents:support"),
        ("nowhere:agent", UnknownName, "there is no module nowhere, neither installed nor in "),
        ("lacking:agent", ConfigurationError, "lacking needs a_package_that_nobody_has, which is not installed"),
        ("torn:agent", ConfigurationError, "torn cannot be imported .SyntaxError: "),
        ("raising:agent", ConfigurationError, "raising cannot be imported .RuntimeError: no database."),
        ("own_agents:missing", UnknownName, "there is no missing in own_agents"),
        ("own_agents:number", ConfigurationError, ": int is not an agent"),
        ("own_agents:Echo", ConfigurationError, "that is the class Echo: name an instance of it"),
        ("own_agents:built", ConfigurationError, ": StateGraph is not an agent"),
    ],
)
def test_what_is_no_agent_is_refused_with_what_to_do(name: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        named_agent(name)


def test_an_agent_and_a_model_are_too_much(command: Commands) -> None:
    result = command("serve", str(DOCUMENTS), "--agent", "own_agents:flow", "--llm", "small")
    assert result.code == 2
    assert "--agent and --llm cannot be combined" in result.err
