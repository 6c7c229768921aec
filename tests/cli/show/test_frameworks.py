"""What the frameworks are said to see of a turn is what their own tracers saw of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langchain_core.tracers.schemas import Run
from llama_index_instrumentation import root_dispatcher
from llama_index_instrumentation.base.event import BaseEvent
from llama_index_instrumentation.event_handlers import BaseEventHandler
from llama_index_instrumentation.span_handlers import SimpleSpanHandler

from chat_sessions import ChatSession, LlamaCloudChat, LocalServer, Turn
from chat_sessions.cli.show.frameworks import turn_views
from chat_sessions.langchain import SessionChatModel
from chat_sessions.llama_index import SessionChatEngine
from tests.cli.conftest import DOCUMENTS

QUESTION = "What is the revenue by product line?"
Tree = tuple[str, list["Tree"]]


@pytest.fixture
def chat() -> Iterator[LlamaCloudChat]:
    with LocalServer(indexes={"idx-docs": DOCUMENTS}) as server, server.client() as client:
        yield client


class Listener(BaseEventHandler):
    """Takes events: without one who does, there is no span for the pieces of text."""

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        pass


def shown(span: dict[str, Any]) -> Tree:
    return span["name"], sorted(map(shown, span.get("children", ())))


def stored(session: ChatSession) -> Turn:
    (turn,) = session.turns()
    assert turn.tool_runs
    return turn


def test_the_spans_of_llama_index_are_those_of_its_instrumentation(chat: LlamaCloudChat) -> None:
    handler, listener = SimpleSpanHandler(), Listener()
    root_dispatcher.add_span_handler(handler)
    root_dispatcher.add_event_handler(listener)
    engine = SessionChatEngine(client=chat)
    try:
        assert "".join(engine.stream_chat(QUESTION).response_gen)
    finally:
        root_dispatcher.span_handlers.remove(handler)
        root_dispatcher.event_handlers.remove(listener)

    def below(parent: str | None) -> list[Tree]:
        spans = [span for span in handler.completed_spans if span.parent_id == parent]
        return sorted((span.id_.partition("-")[0], below(span.id_)) for span in spans)

    assert engine.session_id is not None
    view = turn_views()["LlamaIndex"](stored(chat.session(engine.session_id)))
    assert below(None) == [shown(view["spans"])]
    assert view["messages"][0]["role"] == "user"


def test_the_runs_of_langchain_are_those_of_its_tracer(chat: LlamaCloudChat) -> None:
    collector = RunCollectorCallbackHandler()
    answer = SessionChatModel(client=chat).invoke(QUESTION, {"callbacks": [collector]})

    def seen(run: Run) -> Tree:
        return f"{run.run_type} {run.name}", sorted(map(seen, run.child_runs))

    def typed(span: dict[str, Any]) -> Tree:
        return f"{span['run_type']} {span['name']}", sorted(map(typed, span.get("children", ())))

    view = turn_views()["LangChain"](stored(chat.session(answer.response_metadata["session_id"])))
    assert [seen(run) for run in collector.traced_runs] == [typed(view["runs"])]
    assert view["messages"][0]["type"] == "human"
