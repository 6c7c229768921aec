"""Clients in JavaScript, from npm: LangChain's messages, and AG-UI's agent."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ag_ui_langgraph import LangGraphAgent, add_langgraph_fastapi_endpoint
from fastapi import FastAPI
from langchain.agents import create_agent
from langgraph.checkpoint.memory import InMemorySaver

from chat_sessions.langchain import SessionChatModel
from tests.consumers.ports import free_port, serving
from tests.consumers.service import ANSWER, PASSAGE, QUERY, THOUGHT, Service

_HERE = Path(__file__).parent
_PACKAGES = _HERE.parents[3] / ".node" / "consumers"


def _run(script: str, argument: str) -> Any:
    # Node.js looks for packages beside the script.
    copy = shutil.copy(_HERE / script, _PACKAGES)
    done = subprocess.run(
        ["node", str(copy), argument], capture_output=True, text=True, encoding="utf-8", timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_langchain_in_javascript_reads_the_words_tools_counts_and_session_of_an_answer(
    version: str, service: Service
) -> None:
    answer = SessionChatModel(client=service.client(), output_version=version).invoke("How was Q3?")
    read = _run("message.mjs", answer.model_dump_json())
    assert (read["kind"], read["text"]) == ("AIMessage", ANSWER)
    if version == "v1":
        kinds = ["reasoning", "text", "server_tool_call", "server_tool_result", "text"]
        assert [block["type"] for block in read["blocks"]] == kinds
        thought, _, call, result, _ = read["blocks"]
    else:
        assert read["blocks"] == [{"type": "text", "text": ANSWER}]
        thought, call, result = read["beside"]["session_blocks"]
    assert thought["reasoning"] == THOUGHT
    assert (call["name"], call["args"]) == ("search", {"query": QUERY})
    assert (result["tool_call_id"], result["output"]["results"][0]["content"]) == (call["id"], PASSAGE)
    assert (read["usage"]["input_tokens"], read["usage"]["output_tokens"]) == (120, 34)
    assert read["session"] == service.session_id
    assert [(source["file_name"], source["page"]) for source in read["sources"]] == [("report.md", 2)]


@pytest.mark.parametrize("options", [{}, {"output": "text"}])
def test_the_client_of_ag_ui_shows_two_runs_of_a_thread_and_the_session_gets_each_question_once(
    options: dict[str, Any], service: Service
) -> None:
    model = SessionChatModel(client=service.client(), session_from_messages=True, **options)
    graph = create_agent(model, tools=[], checkpointer=InMemorySaver())
    app, port = FastAPI(), free_port()
    add_langgraph_fastapi_endpoint(app, LangGraphAgent(name="documents", graph=graph))
    with serving(app, port):
        seen = _run("ag_ui.mjs", f"http://127.0.0.1:{port}/")
    assert seen["streamed"] == ANSWER
    assert seen["tools"] == [["search", {"query": QUERY}]] * 2
    words = [[role, content] for role, content in seen["messages"] if role in ("user", "assistant") and content]
    assert words == [["user", "How was Q3?"], ["assistant", ANSWER], ["user", "And Q4?"], ["assistant", ANSWER]]
    assert service.prompts == ["How was Q3?", "And Q4?"]
    assert service.session_id
