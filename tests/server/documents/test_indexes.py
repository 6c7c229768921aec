"""Search over a folder, how an index follows its files, and what is kept of them."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server.documents import files, keeping
from chat_sessions.server.documents.files import DocumentError
from chat_sessions.server.documents.indexes import Index, open_index
from chat_sessions.server.documents.library import Library
from chat_sessions.server.documents.readers import Reader, Reading, Stopped

EXAMPLES = Path(__file__).parents[3] / "examples" / "documents"


@pytest.fixture(scope="module")
def examples() -> Index:
    return open_index("idx-docs", EXAMPLES)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that a process reads."""
    names: list[str] = []
    read = Reader.read

    def noting(self: Reader, data: bytes, name: str) -> Reading:
        names.append(name)
        return read(self, data, name)

    monkeypatch.setattr(Reader, "read", noting)
    return names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "boats.md").write_text(
        "# Boats\n\nThe ferry carries 40 cars.\n\n# Trains\n\nThe train carries 300 people.\n"
    )
    (tmp_path / "zoo.txt").write_text("The zoo keeps two old bears.\n")
    return tmp_path


def names(index: Index) -> list[str]:
    return [document.name for document in index.documents]


def found(index: Index, query: str) -> list[str]:
    return [hit.passage.text for hit in index.search(query)]


def picture(index: Index, source_id: str, name: str) -> bytes | None:
    """An attachment of an index, as a server draws it."""

    async def draw() -> bytes | None:
        library = Library({index.index_id: index})
        try:
            return await library.attachment(source_id, name)
        finally:
            await library.close()

    return asyncio.run(draw())


class TestOpening:
    def test_the_examples_are_indexed_without_a_warning(self, examples: Index) -> None:
        assert examples.index_id == "idx-docs"
        assert examples.name == "documents"
        assert names(examples) == sorted(path.name for path in EXAMPLES.iterdir())
        assert examples.warnings == ()

    def test_a_folder_without_files_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DocumentError, match=r"cannot serve .*: there are no files in it\Z"):
            open_index("idx-docs", tmp_path)

    def test_a_folder_in_which_nothing_can_be_read_is_refused_with_every_reason(self, tmp_path: Path) -> None:
        for number in range(7):
            (tmp_path / f"{number}.pdf").write_bytes(b"%PDF-1.7 and nothing else")
        with pytest.raises(DocumentError) as caught:
            open_index("idx-docs", tmp_path)
        lines = str(caught.value).splitlines()
        assert lines[0].endswith("no file in it can be read:")
        assert lines[1] == "  0.pdf: left out, it is damaged or not a PDF file"
        assert lines[-1] == "  and 2 more"

    def test_one_unreadable_file_is_refused_with_its_name(self, tmp_path: Path) -> None:
        (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.7 and nothing else")
        with pytest.raises(DocumentError, match=r"cannot read .*bad\.pdf: it is damaged or not a PDF file\Z"):
            open_index("idx-docs", tmp_path / "bad.pdf")

    def test_an_unreadable_file_is_left_out_and_named_while_the_others_are_served(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (folder / "bad.pdf").write_bytes(b"%PDF-1.7 and nothing else")
        index = open_index("idx-docs", folder)
        assert names(index) == ["boats.md", "zoo.txt"]
        assert index.warnings == ("bad.pdf: left out, it is damaged or not a PDF file",)
        assert index.left_out == {"bad.pdf": "it is damaged or not a PDF file"}
        assert "bad.pdf: left out, it is damaged or not a PDF file" in caplog.text

    def test_a_folder_of_punctuation_has_no_words_to_search(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("... --- ...")
        with pytest.raises(DocumentError, match=r"a\.txt: left out, it has no text"):
            open_index("idx-docs", tmp_path)

    def test_the_same_name_in_two_indexes_is_two_sources(self, folder: Path) -> None:
        first, second = open_index("idx-a", folder), open_index("idx-b", folder)
        ids = {document.file_id for index in (first, second) for document in index.documents}
        assert len(ids) == 4
        assert second.attachments(first.documents[0].file_id) is None

    def test_progress_is_told_with_count_and_share(self, folder: Path) -> None:
        steps: list[tuple[int, int]] = []
        open_index(
            "idx-docs", folder, index_store=":memory:", on_progress=lambda done, total, _: steps.append((done, total))
        )
        assert steps == [(1, 2), (2, 2)]


class TestKeeping:
    def test_what_was_read_is_not_read_again_even_under_another_name(
        self, folder: Path, tmp_path_factory: pytest.TempPathFactory, reading: list[str]
    ) -> None:
        store = tmp_path_factory.mktemp("store")
        first = open_index("idx-docs", folder, index_store=store)
        reading.clear()
        (folder / "copy.txt").write_bytes((folder / "zoo.txt").read_bytes())
        second = open_index("idx-docs", folder, index_store=store)
        assert reading == []
        assert names(second) == ["boats.md", "copy.txt", "zoo.txt"]
        assert found(second, "ferry") == found(first, "ferry")

    def test_a_reading_that_was_interrupted_goes_on_where_it_ended(
        self, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, reading: list[str]
    ) -> None:
        for number in range(6):
            (tmp_path / f"{number}.md").write_text(f"Chapter {number} is about ferries.")
        store = tmp_path_factory.mktemp("store")

        def interrupt(done: int, _total: int, _name: str) -> None:
            if done == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            open_index("idx-docs", tmp_path, index_store=store, on_progress=interrupt)
        reading.clear()
        assert len(names(open_index("idx-docs", tmp_path, index_store=store))) == 6
        assert len(reading) <= 3

    def test_what_another_version_cut_in_its_way_is_read_again_and_removed_when_it_is_no_longer_used(
        self, folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = tmp_path_factory.mktemp("store")
        open_index("idx-own", folder, index_store=store)
        (before,) = store.glob("index-*.db")
        (ranked_before,) = store.glob("ranking-*")
        changed = tmp_path_factory.mktemp("changed") / "documents"
        shutil.copytree(Path(keeping.__file__).parent, changed)
        with (changed / "reading" / "passages.py").open("a") as code:
            code.write("# other passages\n")
        monkeypatch.setattr(keeping, "__file__", str(changed / "keeping.py"))
        read = open_index("idx-own", folder, index_store=store)
        assert read.count > 0
        assert len(list(store.glob("index-*.db"))) == 2
        assert ranked_before.is_dir()
        for path in (before, *store.glob("ranking-*")):
            os.utime(path, (0, 0))
        open_index("idx-own", folder, index_store=store)
        assert before not in store.glob("index-*.db")
        (ranked,) = store.glob("ranking-*")
        assert ranked != ranked_before

    def test_a_store_that_is_dropped_with_what_holds_it_is_closed(self, tmp_path: Path) -> None:
        """Python collects what refers to each other in an order of its own, and 3.13 warns of open connections."""
        for _ in range(20):
            store = keeping.open_store(tmp_path)
            # Ways in which a connection may come before its store.
            loop: list[object] = [store._opened, store]
            loop.append(loop)
            del store, loop
        gc.collect()
        assert list(tmp_path.glob("index-*.db-wal")) == []

    def test_a_store_that_cannot_be_used_is_refused_with_what_to_do(self, folder: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"indexes cannot be kept in .*zoo\.txt.*name another folder"):
            open_index("idx-docs", folder, index_store=folder / "zoo.txt")

    def test_a_damaged_store_in_a_folder_that_was_named_is_an_error_whose_causes_end(
        self, folder: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        store = tmp_path_factory.mktemp("kept")
        open_index("idx-docs", folder, index_store=store)
        for file in store.glob("index-*.db*"):
            file.write_bytes(b"no database" * 1000)
        with pytest.raises(ConfigurationError, match=r"indexes cannot be kept in .*name another folder") as caught:
            keeping.open_store(store)
        assert isinstance(caught.value.__cause__, sqlite3.Error)
        assert caught.value.__cause__.__cause__ is None

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for the size of files")
    def test_a_full_disk_is_named_with_what_to_do_and_the_default_folder_is_done_without(self, tmp_path: Path) -> None:
        code = f"""
import logging, resource
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server import open_index
logging.basicConfig(format="%(message)s")
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY))
print(open_index("idx-docs", {str(EXAMPLES)!r}).search("What was the revenue?")[0].document.name)
try:
    open_index("idx-docs", {str(EXAMPLES)!r}, index_store={str(tmp_path / "named")!r})
except ConfigurationError as error:
    print(error)
"""
        env = os.environ | {"CHAT_SESSIONS_CACHE": str(tmp_path / "default")}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        found, refused = done.stdout.splitlines()
        assert found == "annual-report-2025.pdf"
        assert re.fullmatch(r"indexes cannot be kept in .*named: .*; name another folder", refused)
        assert re.fullmatch(r"indexes cannot be kept in .*default \(.*\): documents are read again .*\n", done.stderr)

    def test_only_the_user_may_read_the_folder(self, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        store = tmp_path_factory.mktemp("cache") / "index"
        open_index("idx-docs", folder, index_store=store)
        assert store.stat().st_mode & 0o077 == 0


class TestSearch:
    def test_the_best_passage_comes_first(self, folder: Path) -> None:
        hits = open_index("idx-docs", folder).search("How many cars does the ferry carry?")
        assert "ferry carries 40 cars" in hits[0].passage.text
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert all(hit.score > 0 for hit in hits)

    @pytest.mark.parametrize("query", ["", "?!", "submarine"])
    def test_a_query_that_shares_no_word_finds_nothing(self, folder: Path, query: str) -> None:
        assert open_index("idx-docs", folder).search(query) == []

    def test_other_forms_of_a_word_and_compounds_are_found(self, folder: Path) -> None:
        (folder / "haus.txt").write_text("Der Wohnungsschlüssel liegt in der blauen Kiste im Flur.")
        index = open_index("idx-docs", folder)
        assert "zoo keeps" in found(index, "bear")[0]
        assert "Wohnungsschlüssel" in found(index, "schlussel")[0]

    def test_a_passage_is_found_by_its_heading_and_by_its_file(self, folder: Path) -> None:
        index = open_index("idx-docs", folder)
        assert "300 people" in found(index, "trains")[0]
        assert "zoo" in found(index, "zoo.txt")[0]

    def test_no_more_hits_are_given_than_the_limit(self, examples: Index) -> None:
        assert len(examples.search("revenue gauge station", limit=3)) == 3
        assert examples.search("revenue", limit=0) == []

    def test_the_same_query_gives_the_same_hits(self, examples: Index) -> None:
        again = open_index("idx-docs", EXAMPLES, index_store=":memory:")
        assert [hit.as_result() for hit in examples.search("battery")] == [
            hit.as_result() for hit in again.search("battery")
        ]

    def test_a_hit_has_the_shape_of_the_retrieval_api(self, examples: Index) -> None:
        (hit,) = examples.search("operating margin third quarter best in the company's history", limit=1)
        report = examples.documents[0].file_id
        result = cast("dict[str, Any]", hit.as_result())
        assert "The third quarter was the best" in result["content"]
        assert result["score"] > 0
        assert result["rerank_score"] is None
        assert result["metadata"] == {
            "file_name": "annual-report-2025.pdf",
            "section": "Quarterly results",
            "index_id": "idx-docs",
        }
        assert result["static_fields"] == {
            "page_range_start": 3,
            "page_range_end": 3,
            "chunk_index": hit.chunk_index,
            "parsed_directory_file_id": report,
            "attachments": [{"attachment_name": "screenshots/page_3.jpg", "source_id": report, "type": "screenshot"}],
            "bounding_boxes": [{"x": 62.4, "y": 63.5, "w": 464.7, "h": 478.6}],
            "page_dimensions": {"width": pytest.approx(595.3, abs=0.1), "height": pytest.approx(841.9, abs=0.1)},
        }

    def test_a_hit_in_a_text_has_a_section_and_no_page(self, examples: Index) -> None:
        result = cast("dict[str, Any]", examples.search("wedding")[0].as_result())
        assert result["metadata"]["section"] == "Holiday and leave"
        assert result["static_fields"]["page_range_start"] is None
        assert result["static_fields"]["attachments"] == []
        assert "bounding_boxes" not in result["static_fields"]


class TestScreenshots:
    def test_every_page_of_a_pdf_has_a_screenshot_that_opens(self, examples: Index) -> None:
        report = examples.documents[0].file_id
        assert examples.attachments(report) == [f"screenshots/page_{number}.jpg" for number in range(1, 13)]
        image = picture(examples, report, "screenshots/page_3.jpg")
        assert image is not None
        with Image.open(io.BytesIO(image)) as opened:
            assert opened.format == "JPEG"
            assert 800 < opened.size[0] < opened.size[1] <= 1601

    def test_a_text_has_no_screenshots(self, examples: Index) -> None:
        assert examples.attachments(examples.documents[1].file_id) == []

    @pytest.mark.parametrize(
        "name", ["screenshots/page_0.jpg", "screenshots/page_13.jpg", "../handbook.md", "screenshots/page_3.png", ""]
    )
    def test_an_attachment_that_does_not_exist_is_none(self, examples: Index, name: str) -> None:
        assert picture(examples, examples.documents[0].file_id, name) is None

    def test_an_unknown_source_is_none(self, examples: Index) -> None:
        assert picture(examples, "dfl-unknown", "screenshots/page_1.jpg") is None
        assert examples.attachments("dfl-unknown") is None
        assert examples.page("dfl-unknown", 1) is None

    def test_a_page_that_several_ask_for_is_drawn_once(self, examples: Index, monkeypatch: pytest.MonkeyPatch) -> None:
        opened: list[str] = []
        contents = files.contents

        def noting(file: files.DocumentFile, root: Path) -> bytes:
            opened.append(file.name)
            return contents(file, root)

        monkeypatch.setattr("chat_sessions.server.documents.indexes.contents", noting)
        report = examples.documents[0].file_id

        async def draw() -> None:
            library = Library({"idx-docs": examples})
            wanted = [library.attachment(report, "screenshots/page_1.jpg") for _ in range(3)]
            first, *others = await asyncio.gather(*wanted)
            assert others == [first, first]
            assert await library.attachment(report, "screenshots/page_1.jpg") == first
            await library.close()

        asyncio.run(draw())
        assert opened == ["annual-report-2025.pdf"]

    def test_the_screenshot_of_a_file_that_went_away_is_none(self, tmp_path: Path) -> None:
        path = tmp_path / "report.pdf"
        path.write_bytes((EXAMPLES / "annual-report-2025.pdf").read_bytes())
        index = open_index("idx-docs", path)
        path.unlink()
        assert picture(index, index.documents[0].file_id, "screenshots/page_1.jpg") is None

    def test_an_index_is_opened_and_searched_by_many_threads_at_once(self, examples: Index) -> None:
        with ThreadPoolExecutor(4) as pool:
            opened = pool.map(open_index, ["idx-docs"] * 4, [EXAMPLES] * 4)
            hits = pool.map(examples.search, ["battery"] * 8)
            assert all(len(index.documents) == len(examples.documents) for index in opened)
            assert len({tuple(hit.chunk_index for hit in some) for some in hits}) == 1


class TestRefresh:
    def test_a_changed_file_is_read_again(self, folder: Path) -> None:
        index = open_index("idx-docs", folder)
        (folder / "zoo.txt").write_text("The zoo has a new giraffe.\n")
        assert found(index, "giraffe") == []
        index.refresh()
        assert found(index, "giraffe") == ["The zoo has a new giraffe."]
        assert found(index, "bears") == []

    def test_files_that_come_and_go_are_followed(self, folder: Path) -> None:
        index = open_index("idx-docs", folder)
        (folder / "new.md").write_text("A whale.")
        (folder / "zoo.txt").unlink()
        index.refresh()
        assert names(index) == ["boats.md", "new.md"]

    def test_only_what_changed_is_read(self, folder: Path, reading: list[str]) -> None:
        index = open_index("idx-docs", folder, index_store=":memory:")
        assert sorted(reading) == ["boats.md", "zoo.txt"]
        reading.clear()
        index.refresh()
        assert reading == []
        (folder / "zoo.txt").write_text("The zoo has a new giraffe.\n")
        index.refresh()
        assert reading == ["zoo.txt"]

    def test_a_rewrite_of_the_same_size_is_noticed_by_its_time(self, folder: Path) -> None:
        index = open_index("idx-docs", folder)
        before = (folder / "zoo.txt").stat()
        (folder / "zoo.txt").write_text("The zoo keeps two old goats.\n")
        os.utime(folder / "zoo.txt", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        index.refresh()
        assert found(index, "goats")

    def test_a_file_whose_time_was_put_back_is_noticed(self, folder: Path) -> None:
        index = open_index("idx-docs", folder)
        before = (folder / "zoo.txt").stat()
        (folder / "zoo.txt").write_text("The zoo keeps two old goats.\n")
        os.utime(folder / "zoo.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
        index.refresh()
        assert found(index, "goats")

    def test_a_file_whose_time_was_put_back_is_noticed_at_the_next_start(
        self, folder: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        kept = tmp_path_factory.mktemp("kept")
        open_index("idx-docs", folder, index_store=kept)
        before = (folder / "zoo.txt").stat()
        (folder / "zoo.txt").write_text("The zoo keeps two old goats.\n")
        os.utime(folder / "zoo.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
        assert found(open_index("idx-docs", folder, index_store=kept), "goats")

    def test_files_with_new_permissions_are_known_by_their_content(
        self, folder: Path, reading: list[str], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        kept = tmp_path_factory.mktemp("kept")
        index = open_index("idx-docs", folder, index_store=kept)
        assert sorted(reading) == ["boats.md", "zoo.txt"]
        for path in folder.iterdir():
            path.chmod(0o600)
        opened: list[str] = []
        index.refresh(lambda _done, _total, name: opened.append(name))
        assert sorted(opened) == ["boats.md", "zoo.txt"]
        index.refresh(lambda _done, _total, name: opened.append(name))
        open_index("idx-docs", folder, index_store=kept)
        assert len(opened) == len(reading) == 2

    def test_a_folder_that_lost_its_documents_is_refused_and_the_index_keeps_what_it_had(self, folder: Path) -> None:
        index = open_index("idx-docs", folder)
        for path in folder.iterdir():
            path.unlink()
        with pytest.raises(DocumentError, match="there are no files in it"):
            index.refresh()
        assert found(index, "bears")

    def test_a_warning_goes_when_its_file_is_mended(self, folder: Path) -> None:
        (folder / "bad.pdf").write_bytes(b"%PDF-1.7 and nothing else")
        index = open_index("idx-docs", folder)
        (folder / "bad.pdf").write_bytes((EXAMPLES / "annual-report-2025.pdf").read_bytes())
        index.refresh()
        assert index.warnings == ()
        assert "bad.pdf" in names(index)

    def test_a_reading_can_be_ended_from_another_thread(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        index = open_index("idx-docs", folder)
        (folder / "new.md").write_text("A whale that nobody has seen yet.")

        def stop(*_: object) -> Reading:
            index.stop_reading()
            raise Stopped

        monkeypatch.setattr(Reader, "read", stop)
        with pytest.raises(Stopped):
            index.refresh()
        monkeypatch.undo()
        index.refresh()
        assert found(index, "whale")
