"""blockbuster, which `langgraph dev` uses: no call of the adapters may block an event loop."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.consumers.service import ANSWER, Service

_FIRST_CALLS = {
    "LangChain": """
from chat_sessions.langchain import SessionChatModel
model = SessionChatModel(index_ids=["idx-docs"])
async def ask():
    with blockbuster_ctx():
        return (await model.ainvoke("How was Q3?")).text
""",
    "LlamaIndex": """
from chat_sessions.llama_index import SessionChatEngine
engine = SessionChatEngine(index_ids=["idx-docs"])
async def ask():
    with blockbuster_ctx():
        return (await engine.achat("How was Q3?")).response
""",
}


@pytest.mark.parametrize("framework", _FIRST_CALLS)
def test_the_first_turn_of_a_process_does_not_block_the_event_loop(framework: str, service: Service) -> None:
    code = (
        f"import asyncio\nfrom blockbuster import blockbuster_ctx\n{_FIRST_CALLS[framework]}\nprint(asyncio.run(ask()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == f"{ANSWER}\n", done.stderr[-3000:]
