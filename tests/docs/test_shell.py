"""The commands in the documentation: run, or left out for a reason that is named."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
MODEL = "it needs a model; tests/cli/commands/test_models.py has one"
# By how a command begins; the first that fits is why it is not run here.
NOT_RUN = {
    "make ": "`make check` and `make release-check` run it",
    "python3 -m venv": "`make release-check` installs wheel and sdist",
    "pip install": "`make release-check` installs wheel and sdist",
    "uv ": "it needs an OpenHands Agent Server, as `make openhands` has it",
    "OH_SESSION_API_KEYS_0": "it needs an OpenHands Agent Server, as `make openhands` has it",
    "chat-sessions chat --tool": "it needs an OpenHands Agent Server, as `make openhands` has it",
    "chat-sessions chat --index docs/ --llm": MODEL,
    "chat-sessions chat --index examples/documents --llm": MODEL,
    "chat-sessions serve": "it serves until it is interrupted; tests/cli/commands/test_serve.py does",
    "nohup chat-sessions serve": "it serves until it is interrupted; tests/cli/commands/test_serve.py does",
    "chat-sessions ui": "it serves until it is interrupted; tests/cli/commands/test_ui.py does",
    "uvicorn ": "it serves until it is interrupted; tests/docs/test_web_application.py does",
    "curl ": "it asks a server of the lines before it",
    "session=$(curl": "it asks a server of the lines before it",
    "jupyter ": "it serves until it is interrupted; tests/docs/test_notebooks.py runs the notebooks",
    "export ": "it sets a variable",
    "createuser ": "it is the database's own tool",
    "createdb ": "it is the database's own tool",
    "pg_": "it is the database's own tool",
    "sqlite3 ": "it is the database's own tool",
    "echo $! ": "it manages a process of the lines before it",
    "kill ": "it manages a process of the lines before it",
    "chat-sessions sessions export ses-0123": "it names a session; tests/cli/commands/test_sessions.py has one",
    "python -m benchmarks": "tests/test_benchmarks.py runs what is short",
    "pytest test_support_bot.py": "tests/docs/test_recipes.py runs it",
}


def commands() -> list[tuple[str, str]]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [
        (page.relative_to(ROOT).as_posix(), line.strip())
        for page in pages
        for block in FENCE.findall(page.read_text())
        for line in block.replace("\\\n", " ").splitlines()
        if line.strip()
    ]


def reason(line: str) -> str | None:
    return next((why for beginning, why in NOT_RUN.items() if line.startswith(beginning)), None)


RUN = [(page, line) for page, line in commands() if reason(line) is None]


@pytest.mark.parametrize(("page", "line"), RUN)
def test_the_command_of_the_page_works_in_a_clone_with_an_empty_home(page: str, line: str, tmp_path: Path) -> None:
    program, *arguments = shlex.split(line, comments=True)
    assert program == "chat-sessions"
    done = subprocess.run(
        [sys.executable, "-m", "chat_sessions", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "examples/documents" in done.stderr


def test_every_other_command_is_left_out_for_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    left_out = Counter(why for _, line in commands() if (why := reason(line)) is not None)
    with capsys.disabled():
        print(f"\n{len(RUN)} commands run")
        for why, count in left_out.items():
            print(f"{count} not run: {why}")
    assert [line for _, line in RUN if not line.startswith("chat-sessions ")] == []
    assert len(RUN) >= 2
    assert [beginning for beginning in NOT_RUN if not any(line.startswith(beginning) for _, line in commands())] == []
