"""Search over a folder, and how an index follows its files."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image

from chat_sessions.server.documents import indexes, pdf
from chat_sessions.server.documents.files import DocumentError, DocumentFile, read_document
from chat_sessions.server.documents.indexes import Index, open_index
from chat_sessions.server.documents.pages import Document, Page, Paragraph, Table
from chat_sessions.server.documents.passages import passages_of
from chat_sessions.server.documents.words import terms

EXAMPLES = Path(__file__).parents[3] / "examples" / "documents"


@pytest.fixture(scope="module")
def examples() -> Index:
    return open_index("idx-docs", EXAMPLES)


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


class TestOpening:
    def test_the_examples_are_indexed_without_a_warning(self, examples: Index) -> None:
        assert examples.index_id == "idx-docs"
        assert examples.name == "documents"
        assert names(examples) == ["annual-report-2025.pdf", "handbook.md", "rg-4-product-notes.md", "support-faq.txt"]
        assert examples.warnings == ()

    def test_a_folder_without_documents_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "program.py").write_text("pass")
        with pytest.raises(DocumentError, match=r"cannot serve .*: there are no documents in it\Z"):
            open_index("idx-docs", tmp_path)

    def test_a_folder_in_which_nothing_can_be_read_is_refused_with_every_reason(self, tmp_path: Path) -> None:
        for number in range(7):
            (tmp_path / f"{number}.pdf").write_bytes(b"no pdf")
        with pytest.raises(DocumentError) as caught:
            open_index("idx-docs", tmp_path)
        lines = str(caught.value).splitlines()
        assert lines[0].endswith("no document in it can be read:")
        assert lines[1] == "  0.pdf: left out, it is damaged or not a PDF file"
        assert lines[-1] == "  and 2 more"

    def test_one_unreadable_file_is_refused_with_its_name(self, tmp_path: Path) -> None:
        (tmp_path / "bad.pdf").write_bytes(b"no pdf")
        with pytest.raises(DocumentError, match=r"cannot read .*bad\.pdf: it is damaged or not a PDF file\Z"):
            open_index("idx-docs", tmp_path / "bad.pdf")

    def test_an_unreadable_file_is_left_out_and_named_while_the_others_are_served(self, folder: Path) -> None:
        (folder / "bad.pdf").write_bytes(b"no pdf")
        index = open_index("idx-docs", folder)
        assert names(index) == ["boats.md", "zoo.txt"]
        assert index.warnings == ("bad.pdf: left out, it is damaged or not a PDF file",)

    def test_a_folder_of_punctuation_has_no_words_to_search(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("... --- ...")
        with pytest.raises(DocumentError, match=r"a\.txt: left out, it has no words"):
            open_index("idx-docs", tmp_path)

    def test_the_same_name_in_two_indexes_is_two_sources(self, folder: Path) -> None:
        first, second = open_index("idx-a", folder), open_index("idx-b", folder)
        ids = {document.file_id for index in (first, second) for document in index.documents}
        assert len(ids) == 4
        assert second.attachments(first.documents[0].file_id) is None


class TestSearch:
    def test_the_best_passage_comes_first(self, folder: Path) -> None:
        hits = open_index("idx-docs", folder).search("How many cars does the ferry carry?")
        assert "ferry carries 40 cars" in hits[0].passage.text
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert all(hit.score > 0 for hit in hits)

    @pytest.mark.parametrize("query", ["", "the of and", "?!", "submarine", "What is this?"])
    def test_a_query_that_shares_no_word_finds_nothing(self, folder: Path, query: str) -> None:
        assert open_index("idx-docs", folder).search(query) == []

    def test_other_forms_of_a_word_and_its_synonyms_are_found(self, folder: Path) -> None:
        index = open_index("idx-docs", folder)
        assert "zoo keeps" in found(index, "bear")[0]
        assert "40 cars" in found(index, "vehicles")[0]

    def test_a_passage_is_found_by_its_heading_and_by_its_file(self, folder: Path) -> None:
        index = open_index("idx-docs", folder)
        assert "300 people" in found(index, "trains")[0]
        assert "zoo" in found(index, "zoo.txt")[0]

    def test_no_more_hits_are_given_than_the_limit(self, examples: Index) -> None:
        assert len(examples.search("revenue gauge station", limit=3)) == 3
        assert examples.search("revenue", limit=0) == []

    def test_the_same_query_gives_the_same_hits(self, examples: Index) -> None:
        again = open_index("idx-docs", EXAMPLES)
        assert [hit.as_result() for hit in examples.search("battery")] == [
            hit.as_result() for hit in again.search("battery")
        ]

    def test_a_search_can_be_kept_to_one_page(self, examples: Index) -> None:
        hits = examples.search("revenue", page=4)
        assert hits
        assert {hit.passage.page.number for hit in hits} == {4}
        assert [hit.passage.page.number for hit in examples.search("", page=3)] == [3, 3]

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
            "chunk_index": hit.passage.chunk_index,
            "parsed_directory_file_id": report,
            "attachments": [{"attachment_name": "screenshots/page_3.jpg", "source_id": report, "type": "screenshot"}],
        }

    def test_a_hit_in_a_text_has_a_section_and_no_page(self, examples: Index) -> None:
        result = cast("dict[str, Any]", examples.search("wedding")[0].as_result())
        assert result["metadata"]["section"] == "Holiday and leave"
        assert result["static_fields"]["page_range_start"] is None
        assert result["static_fields"]["attachments"] == []


class TestPassages:
    def test_passages_are_of_readable_length_and_lose_nothing(self, examples: Index) -> None:
        for document in examples.documents:
            passages = passages_of(document)
            assert [passage.chunk_index for passage in passages] == list(range(len(passages)))
            assert max(len(passage.text) for passage in passages) <= 1800
            for page in document.pages:
                text = "\n\n".join(passage.text for passage in passages if passage.page is page)
                assert text == page.text

    def test_a_table_stays_whole(self, examples: Index) -> None:
        report = examples.documents[0]
        tables = [block.text for page in report.pages for block in page.blocks if isinstance(block, Table)]
        for table in tables:
            assert any(table in passage.text for passage in passages_of(report))

    def test_a_table_too_long_for_one_passage_repeats_its_header(self) -> None:
        rows = tuple((f"Item {number}", "x" * 50) for number in range(200))
        passages = passages_of(Document("dfl-1", "a.md", (Page(None, "", (Table("Items", ("Name", "Mark"), rows),)),)))
        assert len(passages) > 4
        assert all(passage.text.startswith("Items\n\n| Name | Mark |") for passage in passages)
        assert sum(passage.text.count("| Item ") for passage in passages) == 200

    def test_a_long_paragraph_is_cut_between_sentences(self) -> None:
        text = " ".join(f"This is sentence number {number} of the paragraph." for number in range(100))
        passages = passages_of(Document("dfl-1", "a.md", (Page(None, "", (Paragraph(text),)),)))
        assert all(passage.text.endswith("paragraph.") for passage in passages)
        assert " ".join(passage.text for passage in passages) == text

    def test_text_without_any_end_is_cut_all_the_same(self) -> None:
        passages = passages_of(Document("dfl-1", "a.md", (Page(None, "", (Paragraph("x" * 5000),)),)))
        assert max(len(passage.text) for passage in passages) <= 1800


class TestWords:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("RG-4", "rg4"),
            ("e-mail", "emails"),
            ("companies", "company"),
            ("calibrated", "calibration"),
            ("the third quarter", "Q3"),
            ("9,140", "9140"),
            ("rose", "increasing"),
            ("the station's", "stations"),
            ("payment", "paid"),
        ],
    )
    def test_forms_of_one_word_are_one_term(self, one: str, other: str) -> None:
        assert terms(one) == terms(other)
        assert len(terms(one)) == 1

    @pytest.mark.parametrize(("one", "other"), [("RG-4", "RG-3"), ("84.2", "842"), ("Q1", "Q3")])
    def test_different_words_stay_different(self, one: str, other: str) -> None:
        assert terms(one) != terms(other)


class TestScreenshots:
    def test_every_page_of_a_pdf_has_a_screenshot_that_opens(self, examples: Index) -> None:
        report = examples.documents[0].file_id
        names = examples.attachments(report)
        assert names == [f"screenshots/page_{number}.jpg" for number in range(1, 13)]
        image = examples.attachment(report, "screenshots/page_3.jpg")
        assert image is not None
        with Image.open(io.BytesIO(image)) as opened:
            assert opened.format == "JPEG"
            assert 800 < opened.size[0] < opened.size[1] <= 1600

    def test_a_text_has_no_screenshots(self, examples: Index) -> None:
        assert examples.attachments(examples.documents[1].file_id) == []

    @pytest.mark.parametrize(
        "name", ["screenshots/page_0.jpg", "screenshots/page_13.jpg", "../handbook.md", "screenshots/page_3.png", ""]
    )
    def test_an_attachment_that_does_not_exist_is_none(self, examples: Index, name: str) -> None:
        assert examples.attachment(examples.documents[0].file_id, name) is None

    def test_an_unknown_source_is_none(self, examples: Index) -> None:
        assert examples.attachment("dfl-unknown", "screenshots/page_1.jpg") is None
        assert examples.attachments("dfl-unknown") is None
        assert examples.page("dfl-unknown", 1) is None

    def test_a_page_is_drawn_once_and_the_cache_stays_small(
        self, examples: Index, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drawn: list[int] = []

        def counting(path: Path, number: int) -> bytes | None:
            drawn.append(number)
            return pdf.render_page(path, number)

        monkeypatch.setattr(indexes, "render_page", counting)
        monkeypatch.setattr(indexes, "_CACHED_SCREENSHOTS", 2)
        index = open_index("idx-docs", EXAMPLES)
        report = index.documents[0].file_id
        for number in (1, 1, 2, 3, 1):
            index.attachment(report, f"screenshots/page_{number}.jpg")
        assert drawn == [1, 2, 3, 1]

    def test_the_screenshot_of_a_file_that_went_away_is_none(self, tmp_path: Path) -> None:
        path = tmp_path / "report.pdf"
        path.write_bytes((EXAMPLES / "annual-report-2025.pdf").read_bytes())
        index = open_index("idx-docs", path)
        path.unlink()
        assert index.attachment(index.documents[0].file_id, "screenshots/page_1.jpg") is None

    def test_pages_are_drawn_and_files_read_from_many_threads_at_once(self, examples: Index) -> None:
        report = examples.documents[0].file_id
        screenshots = examples.attachments(report) or []
        with ThreadPoolExecutor(4) as pool:
            opened = pool.map(open_index, ["idx-docs"] * 4, [EXAMPLES] * 4)
            images = pool.map(examples.attachment, [report] * 8, screenshots)
            assert all(len(index.documents) == 4 for index in opened)
            assert all(image and image.startswith(b"\xff\xd8") for image in images)


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

    def test_only_what_changed_is_opened(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        read: list[str] = []

        def noting(file: DocumentFile, index_id: str) -> tuple[Document, list[str]]:
            read.append(file.name)
            return read_document(file, index_id)

        monkeypatch.setattr(indexes, "read_document", noting)
        index = open_index("idx-docs", folder)
        read.clear()
        content = vars(index)["_content"]
        index.refresh()
        assert read == []
        assert vars(index)["_content"] is content
        (folder / "zoo.txt").write_text("The zoo has a new giraffe.\n")
        index.refresh()
        assert read == ["zoo.txt"]

    def test_a_rewrite_of_the_same_size_is_noticed_by_its_time(self, folder: Path) -> None:
        index = open_index("idx-docs", folder)
        before = (folder / "zoo.txt").stat()
        (folder / "zoo.txt").write_text("The zoo keeps two old goats.\n")
        os.utime(folder / "zoo.txt", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        index.refresh()
        assert found(index, "goats")

    def test_a_folder_that_lost_its_documents_is_refused_and_the_index_keeps_what_it_had(self, folder: Path) -> None:
        index = open_index("idx-docs", folder)
        for path in folder.iterdir():
            path.unlink()
        with pytest.raises(DocumentError, match="there are no documents in it"):
            index.refresh()
        assert found(index, "bears")

    def test_a_warning_goes_when_its_file_is_mended(self, folder: Path) -> None:
        (folder / "bad.pdf").write_bytes(b"no pdf")
        index = open_index("idx-docs", folder)
        (folder / "bad.pdf").write_bytes((EXAMPLES / "annual-report-2025.pdf").read_bytes())
        index.refresh()
        assert index.warnings == ()
        assert "bad.pdf" in names(index)
