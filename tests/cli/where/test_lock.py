"""A file of sessions is opened only while no turn runs in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from chat_sessions.cli.where.lock import StoreLock
from chat_sessions.core.errors import ConfigurationError
from tests.cli.conftest import DOCUMENTS, Program


def lock(path: Path, told: list[str] | None = None) -> StoreLock:
    def waited() -> None:
        if told is not None:
            told.append("waited")

    return StoreLock(path, on_wait=waited, remedy="go elsewhere", patience=0.0)


def test_turns_may_run_side_by_side(tmp_path: Path) -> None:
    with lock(tmp_path / "s.db").running(), lock(tmp_path / "s.db").running():
        pass


def test_a_store_is_not_opened_while_a_turn_runs(tmp_path: Path) -> None:
    told: list[str] = []
    with (
        lock(tmp_path / "s.db").running(),
        pytest.raises(ConfigurationError, match=r"in use by another chat-sessions; end it, or go elsewhere"),
        lock(tmp_path / "s.db", told).opening(),
    ):
        pass
    with lock(tmp_path / "s.db").opening():
        pass


def test_no_turn_runs_and_no_other_opens_while_a_store_is_opened(tmp_path: Path) -> None:
    with lock(tmp_path / "s.db").opening():
        with pytest.raises(ConfigurationError, match="in use"), lock(tmp_path / "s.db").running():
            pass
        with pytest.raises(ConfigurationError, match="in use"), lock(tmp_path / "s.db").opening():
            pass


def test_whoever_waits_is_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    patient = StoreLock(tmp_path / "s.db", on_wait=lambda: told.append("waited"), remedy="", patience=0.6)
    with lock(tmp_path / "s.db").running(), pytest.raises(ConfigurationError), patient.opening():
        pass
    assert told == ["waited"]


WAITING = "Waiting for another chat-sessions to finish its turn\n"


def test_a_command_waits_with_the_file_until_the_turn_of_another_has_ended(program: Program, tmp_path: Path) -> None:
    program("sessions", "list")
    with lock(tmp_path / "data" / "sessions.db").running():
        process = program.start("sessions", "list")
        assert process.stderr is not None
        while process.stderr.readline() != WAITING:
            assert process.poll() is None
    assert program.finish(process).code == 0


def test_a_turn_waits_until_another_command_has_opened_the_file(program: Program, tmp_path: Path) -> None:
    process = program.start("chat", "-i", str(DOCUMENTS))
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write("/session\n")
    process.stdin.flush()
    assert process.stdout.readline().startswith("There is no session yet")
    with lock(tmp_path / "data" / "sessions.db").opening():
        process.stdin.write("What was the operating margin in Q3?\n")
        process.stdin.flush()
        while process.stderr.readline() != WAITING:
            assert process.poll() is None
    assert "14.3 %" in program.finish(process).out
