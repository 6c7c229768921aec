"""Folders and their index ids."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from chat_sessions.cli.errors import UnknownName
from chat_sessions.cli.where.folders import Folders, data_folder, index_id_of, shortest
from chat_sessions.core.errors import ConfigurationError
from tests.cli.conftest import Commands


def test_an_index_id_is_made_from_the_name_and_is_one_for_each_path(tmp_path: Path) -> None:
    first = tmp_path / "a" / "My Docs (2025)"
    second = tmp_path / "b" / "My Docs (2025)"
    assert re.fullmatch(r"idx-my-docs-2025-[0-9a-f]{8}", index_id_of(first))
    assert index_id_of(first) != index_id_of(second)
    assert index_id_of(tmp_path / "a" / ".." / "a" / "My Docs (2025)") == index_id_of(first)


@pytest.mark.parametrize("name", ["日本語", "...", "x" * 200])
def test_a_folder_of_any_name_has_an_index_id(tmp_path: Path, name: str) -> None:
    assert re.fullmatch(r"idx-[a-z0-9-]{1,32}-[0-9a-f]{8}", index_id_of(tmp_path / name))


def test_folders_are_known_again_by_their_id(tmp_path: Path) -> None:
    found = Folders(tmp_path).resolve([str(tmp_path)])
    Folders(tmp_path).remember(found)
    again = Folders(tmp_path)
    assert again.resolve(list(found)) == {index_id_of(tmp_path): tmp_path.resolve()}
    assert again.name_of(index_id_of(tmp_path)) == str(tmp_path.resolve())
    assert again.name_of("idx-other") == "idx-other"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are Unicode")
def test_a_path_that_is_not_utf_8_is_known_again_and_shown_with_escapes(command: Commands, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"z\xfcge\nx")
    path.mkdir()
    (path / "notes.txt").write_text("The warranty is 36 months long.")
    asked = command("ask", "How long is the warranty?", "-i", str(path))
    assert "36 months" in asked.out
    assert asked.err.splitlines()[0].endswith("z\\xfcge x")
    again = command("ask", "How long is the warranty?", "-s", asked.session_id)
    assert "36 months" in again.out
    assert "z\\xfcge x" in command("sessions", "list").out


def test_an_unknown_id_lists_those_that_are_known(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    folders.remember({"idx-a": tmp_path})
    with pytest.raises(UnknownName, match=r"no index 'idx-b' on this machine. Known here: idx-a\."):
        folders.resolve(["idx-b"])


def test_a_file_of_folders_that_is_broken_is_named(tmp_path: Path) -> None:
    (tmp_path / "folders.json").write_text("[]")
    with pytest.raises(ConfigurationError, match=r"folders\.json cannot be read; remove it"):
        Folders(tmp_path)


def test_the_folder_for_sessions_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_SESSIONS_DATA", str(tmp_path / "made" / "here"))
    assert data_folder() == tmp_path / "made" / "here"
    assert data_folder().stat().st_mode & 0o077 == 0


def test_a_path_is_written_from_home_where_home_is_below_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "ana"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "ana"))
    assert shortest(tmp_path / "ana" / "docs") == "~/docs"
    assert shortest(tmp_path / "docs") == "docs"
