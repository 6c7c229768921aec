"""What `_compat.py` uses beyond public API is as it says, and nothing else of the adapter does so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NotRequired

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk
from langchain_core.runnables import RunnableLambda
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel

import chat_sessions.langchain
from chat_sessions.langchain import session_node
from chat_sessions.langchain._compat import Mold, wants_protocol_events, wants_tokens
from tests.langchain.stage import TEXT, Recorder, Stage


class _State(MessagesState):
    session_id: NotRequired[str]


def _graph(stage: Stage, seen: list[list[BaseCallbackHandler]]) -> Any:
    """A graph whose node keeps the handlers that its model would have."""
    node = session_node(stage.play(*TEXT).model())

    def run(state: Any, config: Any) -> Any:
        seen.append(list(config["callbacks"].handlers))
        return node.invoke(state, config)

    async def arun(state: Any, config: Any) -> Any:
        seen.append(list(config["callbacks"].handlers))
        return await node.ainvoke(state, config)

    return StateGraph(_State).add_node("ask", RunnableLambda(run, arun)).add_edge(START, "ask").compile()


async def test_the_streams_of_a_graph_are_told_from_other_handlers_by_their_classes(stage: Stage) -> None:
    seen: list[list[BaseCallbackHandler]] = []
    graph = _graph(stage, seen)
    graph.invoke({"messages": "q"}, {"callbacks": [Recorder()]})
    list(graph.stream({"messages": "q"}, stream_mode="messages"))
    _ = [event async for event in graph.astream_events({"messages": "q"}, version="v2")]
    list(graph.stream_events({"messages": "q"}, version="v3").messages)
    assert [wants_tokens(handlers) for handlers in seen] == [False, True, True, True]
    assert [wants_protocol_events(handlers) for handlers in seen] == [False, False, False, True]


def test_pydantic_keeps_of_an_object_what_a_mold_sets_and_nothing_else() -> None:
    assert BaseModel.__slots__ == (
        "__dict__",
        "__pydantic_fields_set__",
        "__pydantic_extra__",
        "__pydantic_private__",
    )
    made = Mold(AIMessageChunk(content="", id="run-1")).cast(content="a")
    checked = AIMessageChunk(content="a", id="run-1")
    assert made == checked
    assert made.model_fields_set == checked.model_fields_set
    assert made.model_dump() == checked.model_dump()


def _private_names(tree: ast.AST) -> Iterator[str]:
    """Yield the private modules and names that a module imports, and the private attributes it reads of others."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [*node.module.split("."), *(each.name for each in node.names)]
            if not node.module.startswith("chat_sessions"):
                yield from (name for name in names if name.startswith("_") and name != "__future__")
        elif isinstance(node, ast.Attribute) and node.attr.startswith("__pydantic"):
            yield node.attr


def test_no_other_module_of_the_adapter_imports_a_private_name() -> None:
    folder = Path(chat_sessions.langchain.__file__).parent
    found = {
        file.name: names
        for file in folder.rglob("*.py")
        if (names := list(_private_names(ast.parse(file.read_text(encoding="utf-8")))))
    }
    assert set(found) == {"_compat.py"}
    assert set(found["_compat.py"]) == {
        "_streaming",
        "_StreamingCallbackHandler",
        "_V2StreamingCallbackHandler",
        "__pydantic_extra__",
    }
