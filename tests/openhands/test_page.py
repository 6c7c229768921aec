"""The code of the guides runs, in its order, against a real server."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.openhands.frameworks.test_images import picture
from tests.openhands.servers import model_server
from tests.openhands.servers.agent_server import API_KEY, AgentServer

pytestmark = pytest.mark.openhands

_ROOT = Path(__file__).parents[2]
_DOCS = _ROOT / "docs"
_BLOCK = re.compile(r"^```\{ \.python \.no-run \.needs-openhands \}\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def environment(server: AgentServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the pages tell a reader to set."""
    for name, value in {
        "OPENHANDS_BASE_URL": server.url,
        "OPENHANDS_API_KEY": API_KEY,
        "LLM_MODEL": "openai/scripted",
        "LLM_API_KEY": "sk-none",
        "LLM_BASE_URL": server.model_url,
    }.items():
        monkeypatch.setenv(name, value)
    # What a model would do of itself when it is asked for files.
    monkeypatch.setitem(model_server.SCRIPT, "List", model_server.SCRIPT["SHELL"])


# LlamaIndex's own workflow agents, from pydantic 2.14 on.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
@pytest.mark.parametrize("version", ["1.58.2"])
@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("openhands.md", ["Plain answer in pieces."]),
        ("llama-index/openhands.md", ["I will look.\n\nThe tool has answered.", "terminal", "A scripted title"]),
        (
            "langchain/openhands.md",
            ["I will look.\n\nThe tool has answered.", "success", "A scripted title", "ai Plain"],
        ),
    ],
)
def test_the_code_of_the_guide_runs(
    version: str,
    page: str,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (_DOCS / page).read_text("utf-8")
    (tmp_path / "chart.png").write_bytes(picture())
    blocks = list(_BLOCK.finditer(text))
    assert len(blocks) > 5
    module = ModuleType("guide")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with asyncio.Runner() as runner:
        for match in blocks:
            code = "\n" * text.count("\n", 0, match.start(1)) + match[1].replace("/srv/project", str(tmp_path))
            compiled = compile(code, str(_DOCS / page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(compiled, module.__dict__)
            if inspect.iscoroutine(result):
                runner.run(result)
    printed = capsys.readouterr().out
    assert [words for words in said if words not in printed] == []


def test_the_example_runs_on_both_servers(version: str, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(_ROOT / "examples" / "openhands_session.py"))["main"]()
    printed = capsys.readouterr().out
    assert "[terminal {'command': 'echo from-the-shell'}]" in printed
    assert "used: ['terminal']" in printed
    assert "And through LangChain: Plain answer in pieces." in printed
    assert "title: " in printed
