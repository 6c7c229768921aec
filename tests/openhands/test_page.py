"""The code of the guide runs, in its order, against a real server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.openhands.agent_server import API_KEY, AgentServer

pytestmark = pytest.mark.openhands

_PAGE = Path(__file__).parents[2] / "docs" / "openhands.md"
_BLOCK = re.compile(r"^```\{ \.python \.no-run \}\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("version", ["1.58.0"])
def test_the_code_of_the_guide_runs(
    server: AgentServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENHANDS_BASE_URL", server.url)
    monkeypatch.setenv("OPENHANDS_API_KEY", API_KEY)
    monkeypatch.setenv("LLM_MODEL", "openai/scripted")
    monkeypatch.setenv("LLM_API_KEY", "sk-none")
    monkeypatch.setenv("LLM_BASE_URL", server.model_url)
    text = _PAGE.read_text("utf-8")
    blocks = list(_BLOCK.finditer(text))
    assert len(blocks) > 5
    names: dict[str, object] = {"__name__": "guide"}
    for match in blocks:
        code = match[1].replace("/srv/project", str(tmp_path))
        exec(compile("\n" * text.count("\n", 0, match.start(1)) + code, str(_PAGE), "exec"), names)
    assert "Plain answer in pieces." in capsys.readouterr().out
