"""The examples run as they stand."""

from __future__ import annotations

import asyncio
import inspect
import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("langchain_*.py"))
SAYS = {
    "langchain_chain": ("23.7", "36 months", "source: ", "page 3", "usage: {'input_tokens'", "session: ses-"),
    "langchain_graph": ("[retrieve {", "36 months", "2 turns in one session"),
    "langchain_memory": ("ai: ", "human: How long is the warranty?", "36 months"),
    "langchain_tracing": (
        "on_chat_model_start SessionChatModel",
        "  on_tool_start retrieve {",
        "  on_tool_end retrieve",
    ),
}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_runs_and_says_what_it_is_there_to_say(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = runpy.run_path(str(path))["main"]()
    if inspect.iscoroutine(result):
        asyncio.run(result)
    printed = capsys.readouterr().out
    assert [words for words in SAYS[path.stem] if words not in printed] == []


def test_each_example_is_run() -> None:
    assert {path.stem for path in EXAMPLES} == set(SAYS)
