"""The graphs of `examples/recipes` in their programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langgraph_sdk import get_sync_client

from tests.consumers.graphs.scripted import call, scripted
from tests.consumers.ports import free_port, wait_until_open
from tests.consumers.recipes import FOLDER, load
from tests.consumers.service import ANSWER, PASSAGE, QUERY, Service

QUESTIONS = ["How was Q3?", "And Q4?"]


def test_the_supervisor_hands_every_question_to_one_session(service: Service) -> None:
    boss = scripted(call("transfer_to_documents"), AIMessage("one"), call("transfer_to_documents"), AIMessage("two"))
    graph = load("supervisor.py")["build"](boss)
    thread = {"configurable": {"thread_id": "ada"}}
    said = [graph.invoke({"messages": [("user", question)]}, thread)["messages"][-1].text for question in QUESTIONS]
    assert said == ["one", "two"]
    assert service.prompts == QUESTIONS
    assert service.session_id


def test_the_deep_agent_asks_the_session_as_its_tool(service: Service) -> None:
    boss = scripted(call("ask_documents", question=QUESTIONS[0]), AIMessage("4 percent."))
    messages = load("deep_agent.py")["build"](boss).invoke({"messages": [("user", "Report on Q3.")]})["messages"]
    (result,) = [message for message in messages if isinstance(message, ToolMessage)]
    assert (result.content, messages[-1].text) == (ANSWER, "4 percent.")
    assert service.prompts == QUESTIONS[:1]


@pytest.mark.heavy
def test_langgraph_dev_serves_the_graph_of_the_folder(service: Service, tmp_path: Path) -> None:
    port = free_port()
    program = str(Path(sys.executable).with_name("langgraph"))
    command = [program, "dev", "--no-browser", "--no-reload", "--port", str(port)]
    environment = {**os.environ, "LANGGRAPH_CLI_NO_ANALYTICS": "1", "LANGSMITH_TRACING": "false"}
    for file in (FOLDER / "langgraph_dev").iterdir():
        if file.is_file():
            # The program writes its own files beside them.
            (tmp_path / file.name).write_text(file.read_text())
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        try:
            wait_until_open(port, process)
            with get_sync_client(url=f"http://127.0.0.1:{port}") as client:
                thread = client.threads.create()["thread_id"]
                for question in QUESTIONS:
                    given: Any = {"messages": [{"role": "user", "content": question}]}
                    state: Any = client.runs.wait(thread, "ask", input=given)
                    assert state["session_id"] == service.session_id
        finally:
            process.terminate()
            process.wait()
    assert service.prompts == QUESTIONS


@pytest.mark.parametrize("framework", ["langchain", "llama_index"])
async def test_ag_ui_gets_the_words_and_the_tool_of_each_run_of_a_thread(framework: str, service: Service) -> None:
    app = load(f"ag_ui_{framework}.py")["app"]
    transport = httpx.ASGITransport(app)
    asked: list[dict[str, Any]] = []
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as browser:
        for number, question in enumerate(QUESTIONS):
            asked.append({"id": f"user-{number}", "role": "user", "content": question})
            empty: dict[str, Any] = {"state": {}, "tools": [], "context": [], "forwardedProps": {}}
            run = {"threadId": "ada", "runId": f"run-{number}", "messages": asked, **empty}
            answer = await browser.post("/", json=run)
            events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
            kinds = [event["type"] for event in events]
            assert (kinds[0], kinds[-1]) == ("RUN_STARTED", "RUN_FINISHED")
            words = "".join(event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT")
            assert words.replace("\n", "") == ANSWER.replace("\n", "")
            (arguments,) = [event["delta"] for event in events if event["type"] == "TOOL_CALL_ARGS"]
            assert json.loads(arguments) == {"query": QUERY}
            (result,) = [event["content"] for event in events if event["type"] == "TOOL_CALL_RESULT"]
            assert PASSAGE in result
            assert kinds.count("TEXT_MESSAGE_START") == kinds.count("TEXT_MESSAGE_END")
            asked.append({"id": f"assistant-{number}", "role": "assistant", "content": words})
    assert service.prompts == QUESTIONS
    assert service.session_id
