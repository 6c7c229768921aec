"""The files of the recipes, run as their pages say."""

from __future__ import annotations

import asyncio
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def test_the_tests_of_an_application_run_with_the_fixture_of_the_package() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/test_support_bot.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
@pytest.mark.filterwarnings("ignore:is_running called from within a step")
def test_a_local_agent_hands_over_to_the_hosted_one(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(runpy.run_path(str(EXAMPLES / "hand_off.py"))["main"]())
    printed = capsys.readouterr().out
    assert printed.startswith("reports: ")
    assert "36 months" in printed


def test_every_example_is_on_a_page() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "docs").rglob("*.md"))
    assert [
        name for name in ("test_support_bot", "own_agents", "hand_off") if f'"examples/{name}.py"' not in pages
    ] == []
