"""The example programs for OpenHands, run as their readers run them, against real servers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.openhands.frameworks.test_images import picture
from tests.openhands.servers.agent_server import API_KEY, AgentServer
from tests.openhands.servers.model_server import ModelServer

pytestmark = pytest.mark.openhands

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("framework", ["langchain", "llama_index"])
def test_an_example_sends_an_image_tells_its_cost_forks_and_fetches_a_file(
    server: AgentServer, model: ModelServer, tmp_path: Path, framework: str
) -> None:
    model.requests.clear()
    (tmp_path / "chart.png").write_bytes(picture(9))
    folder = tmp_path / "project"
    folder.mkdir()
    program = str(ROOT / "examples" / f"openhands_{framework}.py")
    task = f"WRITE {folder / 'numbers.csv'}"
    run = subprocess.run(
        [sys.executable, program, str(tmp_path / "chart.png"), str(folder), "TEXT What does it show?", task],
        env={
            **os.environ,
            "OPENHANDS_BASE_URL": server.url,
            "OPENHANDS_API_KEY": API_KEY,
            "LLM_MODEL": "openai/gpt-4o",
            "LLM_API_KEY": "sk-none",
            "LLM_BASE_URL": server.model_url,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    lines = run.stdout.rstrip().splitlines()
    assert lines[:2] == ["answer: Plain answer in pieces.", "tokens: 120"]
    # 100 tokens in and 20 out, at the prices that the server knows for the model.
    assert float(lines[2].removeprefix("cost in US dollars: ")) == pytest.approx(100 * 2.5e-6 + 20 * 1e-5)
    assert lines[3:] == ["fork: The tool has answered.", "turns: 1 2", "file: a,b", "1,2"]
    assert any(shown for shown in model.images())
