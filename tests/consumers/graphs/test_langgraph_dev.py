"""`langgraph dev`: a graph on its in-memory server, asked through LangGraph's SDK."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_sync_client

from tests.consumers.ports import free_port, wait_until_open
from tests.consumers.service import ANSWER, QUERY, THOUGHT, Service

pytestmark = pytest.mark.heavy

_GRAPH = """
from typing import NotRequired

from langgraph.graph import START, MessagesState, StateGraph

from chat_sessions.langchain import SessionChatModel, session_node


class State(MessagesState):
    session_id: NotRequired[str]


builder = StateGraph(State)
builder.add_node("ask", session_node(SessionChatModel(index_ids=["idx-docs"])))
builder.add_edge(START, "ask")
graph = builder.compile()
"""


@pytest.fixture
def client(service: Service, tmp_path: Path) -> Iterator[Any]:
    (tmp_path / "graph.py").write_text(_GRAPH)
    (tmp_path / "langgraph.json").write_text(json.dumps({"dependencies": ["."], "graphs": {"ask": "./graph.py:graph"}}))
    port = free_port()
    command = [
        str(Path(sys.executable).with_name("langgraph")),
        "dev",
        "--no-browser",
        "--no-reload",
        "--port",
        str(port),
    ]
    told = {**os.environ, "LANGGRAPH_CLI_NO_ANALYTICS": "1", "LANGSMITH_TRACING": "false"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=told, stdout=log, stderr=log)
        try:
            wait_until_open(port, process)
            with get_sync_client(url=f"http://127.0.0.1:{port}") as found:
                yield found
        finally:
            process.terminate()
            process.wait()


def test_two_runs_of_a_thread_stream_the_answer_and_share_a_session(client: Any, service: Service) -> None:
    thread = client.threads.create()["thread_id"]
    for question in ("How was Q3?", "And Q4?"):
        given = {"messages": [{"role": "user", "content": question}]}
        parts = list(client.runs.stream(thread, "ask", input=given, stream_mode=["messages-tuple", "values"]))
        assert [part.data for part in parts if part.event == "error"] == []
        pieces = [part.data[0] for part in parts if part.event == "messages"]
        blocks = [block for piece in pieces for block in piece["additional_kwargs"].get("session_blocks", [])]
        assert [block["name"] for block in blocks if block["type"] == "server_tool_call"] == ["search"]
        assert {"query": QUERY} in [block.get("args") for block in blocks]
        assert "".join(piece["additional_kwargs"].get("reasoning_content", "") for piece in pieces) == THOUGHT
        assert "".join(piece["content"] for piece in pieces) == ANSWER
        state = next(part.data for part in reversed(parts) if part.event == "values")
        answer = state["messages"][-1]
        assert answer["content"] == ANSWER
        assert answer["usage_metadata"]["input_tokens"] == 120
        assert state["session_id"] == service.session_id
    assert service.prompts == ["How was Q3?", "And Q4?"]
