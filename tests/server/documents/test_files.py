"""Which files of a folder are read, and what is said about the rest."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server.documents.files import DocumentError, DocumentFile, FileGone, contents, file_id, find_files


def names(root: Path) -> list[str]:
    return [file.name for file in find_files(root)[0]]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


class TestFindingFiles:
    def test_documents_are_found_at_any_depth_sorted_by_their_path(self, tmp_path: Path) -> None:
        for name in ("b.md", "a/z.txt", "a/b/report.PDF", "c.rst", "program.py", "no ending"):
            write(tmp_path / name, "text")
        assert names(tmp_path) == ["a/b/report.PDF", "a/z.txt", "b.md", "c.rst", "no ending", "program.py"]

    def test_hidden_files_and_folders_are_never_read(self, tmp_path: Path) -> None:
        for name in (".secret.md", ".git/notes.md", "a/.cache/notes.md", "a/open.md"):
            write(tmp_path / name, "text")
        assert names(tmp_path) == ["a/open.md"]

    def test_symbolic_links_are_never_followed_and_the_warning_names_them(self, tmp_path: Path) -> None:
        outside = write(tmp_path / "outside" / "secret.md", "secret")
        root = tmp_path / "docs"
        write(root / "open.md", "text")
        (root / "link.md").symlink_to(outside)
        (root / "folder").symlink_to(outside.parent)
        files, warnings = find_files(root)
        assert [file.name for file in files] == ["open.md"]
        assert sorted(warnings) == [
            "folder: skipped, it is a symbolic link",
            "link.md: skipped, it is a symbolic link",
        ]

    def test_a_pipe_that_is_named_like_a_document_is_passed_over_with_a_warning(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.txt")
        write(tmp_path / "open.md", "text")
        files, warnings = find_files(tmp_path)
        assert [file.name for file in files] == ["open.md"]
        assert warnings == ["pipe.txt: skipped, it is neither a file nor a folder"]

    def test_one_file_can_be_given_instead_of_a_folder(self, tmp_path: Path) -> None:
        assert names(write(tmp_path / "notes.md", "text")) == ["notes.md"]

    @pytest.mark.skipif(sys.platform != "linux", reason="the file system takes no name that is not text")
    def test_a_name_that_is_not_utf8_is_written_so_that_an_answer_can_hold_it(self, tmp_path: Path) -> None:
        for name in (b"caf\xe8.md", b"caf\xe9.md"):
            write(tmp_path / os.fsdecode(name), "text")
        (tmp_path / os.fsdecode(b"\xe8.md")).symlink_to(tmp_path)
        files, warnings = find_files(tmp_path)
        assert [file.name for file in files] == ["caf\\xe8.md", "caf\\xe9.md"]
        assert len({file_id("idx-docs", file.name) for file in files}) == 2
        assert warnings == ["\\xe8.md: skipped, it is a symbolic link"]
        assert names(files[0].path) == ["caf\\xe8.md"]

    def test_a_missing_folder_is_named_in_the_error(self, tmp_path: Path) -> None:
        with pytest.raises(DocumentError, match=r"cannot read .*nowhere: there is no such file or folder"):
            find_files(tmp_path / "nowhere")
        assert issubclass(DocumentError, ConfigurationError)

    def test_something_that_is_neither_file_nor_folder_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(DocumentError, match="neither a folder nor a file"):
            find_files(tmp_path / "pipe")

    @pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
    def test_a_folder_that_may_not_be_opened_is_skipped_with_a_warning(self, tmp_path: Path) -> None:
        write(tmp_path / "open.md", "text")
        (tmp_path / "locked").mkdir(mode=0)
        assert find_files(tmp_path)[1] == ["locked: skipped, no permission to read it"]

    def test_no_more_files_are_read_than_the_limit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(4):
            write(tmp_path / f"{number}.md", "text")
        monkeypatch.setattr("chat_sessions.server.documents.files.MAX_FILES", 3)
        files, warnings = find_files(tmp_path)
        assert [file.name for file in files] == ["0.md", "1.md", "2.md"]
        assert warnings == ["only the first 3 of 4 files were read"]

    def test_the_file_id_follows_from_index_and_name_alone(self) -> None:
        assert file_id("idx-a", "a.md") == file_id("idx-a", "a.md")
        assert len({file_id("idx-a", "a.md"), file_id("idx-b", "a.md"), file_id("idx-a", "b.md")}) == 3
        assert file_id("idx-a", "a.md").startswith("dfl-")


class TestContents:
    def test_a_file_over_the_size_limit_is_not_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("chat_sessions.server.documents.files.MAX_FILE_BYTES", 1024 * 1024)
        file = find_files(write(tmp_path / "big.txt", b" " * (1024 * 1024 + 1)))[0][0]
        with pytest.raises(FileGone, match="it is larger than 1 MB"):
            contents(file, tmp_path)

    def test_a_file_that_went_away_is_refused_in_words(self, tmp_path: Path) -> None:
        with pytest.raises(FileGone, match="there is no such file"):
            contents(DocumentFile(tmp_path / "gone.md", "gone.md", 1, 0, 0), tmp_path)
