"""llama-agents-server: a `SessionAgent` behind its API, asked through its client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from llama_agents.client import WorkflowClient
from llama_agents.server import WorkflowServer
from llama_index.core.agent.workflow.workflow_events import AgentWorkflowStartEvent

from chat_sessions.llama_index import SessionAgent
from tests.consumers.ports import free_port, serving
from tests.consumers.service import ANSWER, PASSAGE, QUERY, THOUGHT, Service


@pytest.fixture
async def client(service: Service) -> AsyncIterator[WorkflowClient]:
    server = WorkflowServer()
    server.add_workflow("documents", SessionAgent(client=service.client()))
    port = free_port()
    with serving(server.app, port):
        yield WorkflowClient(base_url=f"http://127.0.0.1:{port}")


def _start(question: str) -> AgentWorkflowStartEvent:
    empty: dict[str, Any] = dict.fromkeys(("chat_history", "memory", "max_iterations", "early_stopping_method"))
    return AgentWorkflowStartEvent(user_msg=question, **empty)


async def test_a_second_turn_of_a_handler_continues_its_session(client: WorkflowClient, service: Service) -> None:
    handler: dict[str, str] = {}
    for question in ("How was Q3?", "And Q4?"):
        begun = await client.run_workflow_nowait("documents", start_event=_start(question), **handler)
        handler = {"handler_id": begun.handler_id}
        events = [event async for event in client.get_workflow_events(begun.handler_id)]
        ended = await client.get_handler(begun.handler_id)
        assert (ended.status, ended.error) == ("completed", None)
        deltas = [event.value for event in events if event.type == "AgentStream"]
        assert "".join(delta["delta"] for delta in deltas) == ANSWER
        assert "".join(delta["thinking_delta"] or "" for delta in deltas) == THOUGHT
        output = json.loads(ended.model_dump_json())["result"]["value"]["result"]
        assert [block.get("text") or block["content"] for block in output["response"]["blocks"]] == [THOUGHT, ANSWER]
        assert output["tool_calls"] == [{"tool_name": "search", "tool_kwargs": {"query": QUERY}, "tool_id": "call-1"}]
        results = [event.value["tool_output"] for event in events if event.type == "ToolCallResult"]
        assert [PASSAGE in result["blocks"][0]["text"] for result in results] == [True]
    assert service.prompts == ["How was Q3?", "And Q4?"]
    assert service.session_id
