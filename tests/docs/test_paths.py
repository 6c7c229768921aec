"""Every path that the documentation names exists."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "chat_sessions"
TOP = {"tests", "docs", "scripts", "examples", "benchmarks", "fuzz", "src"}
# Pages that describe this repository's files. The others name files of yours.
PAGES = {"AGENTS.md": 15, "SECURITY.md": 20, "docs/architecture.md": 45}
PATH = re.compile(r"`([a-z0-9_./-]+/[a-z0-9_./-]*|[a-z0-9_/]+\.(?:py|toml|md))`")


def paths_in(text: str) -> set[str]:
    return {path for path in PATH.findall(text) if not path.startswith("/")}


def exists(path: str) -> bool:
    if path.partition("/")[0] in TOP or "/" not in path:
        return (ROOT / path).exists() or any(SOURCE.rglob(path))
    return (SOURCE / path).exists() or (ROOT / path).exists()


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_the_page_names_exists(page: str) -> None:
    named = paths_in((ROOT / page).read_text())
    assert len(named) >= PAGES[page]
    assert sorted(path for path in named if not exists(path)) == []


@pytest.mark.parametrize("page", ["README.md", "AGENTS.md", "docs/architecture.md", "docs/getting-started.md"])
def test_every_make_target_that_the_page_names_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / page).read_text(), re.MULTILINE))
    assert named
    assert named - targets == set()


@pytest.mark.parametrize(("target", "program"), [("demo", "chat-sessions"), ("test", "coverage")])
def test_make_says_that_it_installs_and_the_second_time_nothing(tmp_path: Path, target: str, program: str) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "uv.lock"):
        (tmp_path / name).touch()
    uv = tmp_path / "uv"
    uv.write_text(
        "#!/bin/sh\necho uv >&2\nmkdir -p .venv/bin\n"
        f"printf '#!/bin/sh\\n' > .venv/bin/{program}\nchmod +x .venv/bin/*\n"
    )
    uv.chmod(0o755)

    def make() -> list[str]:
        command = ["make", "--silent", target, f"UV={uv}"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stderr.splitlines()

    said, *rest = make()
    assert said.startswith("Installing the project")
    assert rest == ["uv"]
    assert make() == []


def test_a_module_is_generated_or_named_as_one_that_is_not() -> None:
    by_hand = {
        twin.relative_to(SOURCE).as_posix()
        for source in SOURCE.rglob("async_*.py")
        if (twin := source.with_name(source.name.removeprefix("async_"))).exists()
        and not twin.read_text().startswith("# Generated from")
    }
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert sorted(name for name in by_hand if f"`{name}`" not in text) == []
