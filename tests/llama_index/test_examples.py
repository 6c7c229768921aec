"""The examples run as they stand."""

from __future__ import annotations

import asyncio
import inspect
import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("llama_index_*.py"))


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_runs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(path))["main"]
    result = main()
    if inspect.iscoroutine(result):
        asyncio.run(result)
    printed = capsys.readouterr().out
    expected = {
        "llama_index_chat": ("23.7", "page 3", "usage:", "36 months", "messages in session"),
        "llama_index_agents": ("[retrieve ", "[retrieve answered]", "usage: {'prompt_tokens'"),
        "llama_index_memory": ("What is the RG-4?", "assistant:", "36 months"),
    }[path.stem]
    for words in expected:
        assert words in printed


def test_every_example_is_looked_at() -> None:
    assert [path.stem for path in EXAMPLES] == ["llama_index_agents", "llama_index_chat", "llama_index_memory"]
