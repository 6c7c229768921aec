"""The files of the recipes, run as their pages say."""

from __future__ import annotations

import asyncio
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from chat_sessions import LlamaCloudChat, LocalServer
from tests.server.agents.openai_endpoint import DONE, chunk, endpoint
from tests.server.postgresql import has_postgresql, new_database

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def test_every_file_that_the_site_shows_is_linked_where_the_page_is_read_without_it() -> None:
    shown = [
        (page, found[0], found[1])
        for page in (ROOT / "docs").rglob("*.md")
        for found in re.findall(r'((?:.+\n)+)\n```.*\n--8<-- "([^"]+)"', page.read_text())
    ]
    assert len(shown) == sum(page.read_text().count("--8<--") for page in (ROOT / "docs").rglob("*.md"))
    for page, before, path in shown:
        (target,) = re.findall(rf"\[`{path}`\]\(([^)]+)\)", before)
        assert (page.parent / target).resolve() == ROOT / path
        assert (ROOT / path).is_file()


def test_the_tests_of_an_application_run_in_a_folder_of_their_own_with_pytest_and_the_package_alone(
    tmp_path: Path,
) -> None:
    shutil.copy(EXAMPLES / "test_support_bot.py", tmp_path)
    plugins = [entry.name for entry in entry_points(group="pytest11") if entry.value != "chat_sessions.testing.fixture"]
    without = [option for name in plugins for option in ("-p", f"no:{name}")]
    command = [sys.executable, "-m", "pytest", "-q", *without, "test_support_bot.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
@pytest.mark.filterwarnings("ignore:is_running called from within a step")
def test_a_local_agent_hands_over_to_the_hosted_one(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(runpy.run_path(str(EXAMPLES / "hand_off.py"))["main"]())
    printed = capsys.readouterr().out
    assert printed.startswith("reports: ")
    assert "36 months" in printed


def test_what_a_llama_cloud_index_did_is_done_by_a_session(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with LocalServer(indexes={"idx-docs": EXAMPLES / "documents"}) as server:
        monkeypatch.setenv("LLAMA_CLOUD_API_KEY", server.api_key)
        monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", server.url)
        runpy.run_path(str(EXAMPLES / "recipes" / "from_llama_cloud_index.py"))["main"]()
        with server.client() as chat:
            (summary,) = chat.list()
            assert len(chat.session(summary.session_id).turns()) == 2
    assert re.search(r"annual-report-2025.pdf \d+ \d", capsys.readouterr().out)


def test_a_model_of_your_own_answers_from_your_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    with endpoint(chunk("36 months [1]."), chunk(finish="stop"), DONE) as at:
        monkeypatch.setenv("OPENAI_BASE_URL", at.url)
        runpy.run_path(str(EXAMPLES / "recipes" / "own_model.py"))["main"]()
    assert at.requests[0]["model"] == "qwen3:4b"
    assert capsys.readouterr().out.startswith("36 months [")


@pytest.mark.skipif(not has_postgresql(), reason="needs PostgreSQL")
def test_the_server_of_a_team_answers_from_postgresql() -> None:
    with new_database() as database:
        settings = {"CHAT_SESSIONS_STORE": database, "CHAT_SESSIONS_SERVE_KEY": "llx-of-the-team", "PORT": "0"}
        process = subprocess.Popen(
            [sys.executable, "-m", "examples.recipes.team_server"],
            cwd=ROOT,
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip().partition("=")[2]
            with LlamaCloudChat(base_url=url, api_key="llx-of-the-team", index_ids=["idx-docs"]) as chat:
                assert "36 months" in chat.session().ask("How long is the warranty?").text
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate()


def test_every_file_of_a_recipe_is_on_the_list_and_on_its_page() -> None:
    files = {
        file.relative_to(ROOT).as_posix()
        for file in [*(EXAMPLES / "recipes").rglob("*.py"), *EXAMPLES.glob("*.py"), *EXAMPLES.rglob("*.ipynb")]
        # Shorter forms of what the pages of each framework say, which tests of the frameworks run.
        if not file.name.startswith(("langchain_", "llama_index", "openhands_"))
    }
    listed = set(re.findall(r"`(examples/\S+)`", (ROOT / "docs" / "recipes" / "index.md").read_text()))
    assert listed >= files - {"examples/notebooks/llama_index.ipynb"}
    assert [name for name in listed if not (ROOT / name).exists()] == []
    pages = "".join(page.read_text() for page in (ROOT / "docs").rglob("*.md"))
    assert [name for name in listed if f'--8<-- "{name}"' not in pages and not name.endswith(".ipynb")] == []


def test_every_file_of_a_recipe_is_run_by_a_test() -> None:
    tests = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    names = list((EXAMPLES / "recipes").rglob("*.py"))
    assert [file.name for file in names if file.name not in tests and file.parent.name not in tests] == []
