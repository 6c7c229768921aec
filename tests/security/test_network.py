"""Nothing that the commands do over files of any kind leaves this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.own_files.files import write_files

ISOLATED = ["unshare", "--map-root-user", "--net"]


def can_be_isolated() -> bool:
    return shutil.which("unshare") is not None and subprocess.run([*ISOLATED, "true"], check=False).returncode == 0


@pytest.mark.timeout(400)
@pytest.mark.skipif(not can_be_isolated(), reason="a network of its own takes Linux's unshare, and the right to use it")
def test_no_command_over_any_kind_of_file_sends_anything_anywhere(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    write_files(folder)
    home = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [*ISOLATED, sys.executable, "-m", "tests.security.isolated", str(folder)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **home},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout.splitlines()[-1])
    assert {name: code for name, (code, _, _) in report["commands"].items()} == {
        "ask": 0,
        "ask --llm": 0,
        "chat": 0,
        "demo": 0,
        "sessions": 0,
        "doctor": 0,
        "serve": 0,
        "ui": 0,
    }, report
    answered = {name for name, (_, is_answered, _) in report["commands"].items() if is_answered}
    assert answered >= {"ask", "ask --llm", "chat", "demo", "serve", "ui"}, report
    assert report["sent"] == 0
    assert report["on purpose"] > 0
