"""An index: the documents of one folder, searched by word (BM25) and kept up to date with the files."""

from __future__ import annotations

import math
import re
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bm25s  # type: ignore[import-untyped]
from pydantic import JsonValue

from chat_sessions.server.documents.files import DocumentError, DocumentFile, Unreadable, find_files, read_document
from chat_sessions.server.documents.pages import Document, Page
from chat_sessions.server.documents.passages import Passage, passages_of
from chat_sessions.server.documents.pdf import PdfError, render_page
from chat_sessions.server.documents.words import QUESTION_WORDS, terms

__all__ = ["Hit", "Index", "open_index"]

_SCREENSHOT = re.compile(r"screenshots/page_([1-9]\d{0,5})\.jpg")
_CACHED_SCREENSHOTS = 16
_SHOWN_REASONS = 5

# Any: bm25s has no type information.
_bm25s: Any = bm25s


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that a search found, with its BM25 score. Higher is better; scores compare only within a search."""

    index_id: str
    passage: Passage
    score: float

    def as_result(self) -> dict[str, JsonValue]:
        """Return the hit as an item of `results` in the platform's retrieval API.

        A text file has no pages: its `page_range_*` are None, and it has no screenshots.
        """
        page, document = self.passage.page, self.passage.document
        name = screenshot_name(page)
        return {
            "content": self.passage.text,
            "score": round(self.score, 4),
            "rerank_score": None,
            "metadata": {"file_name": document.name, "section": page.section, "index_id": self.index_id},
            "static_fields": {
                "page_range_start": page.number,
                "page_range_end": page.number,
                "chunk_index": self.passage.chunk_index,
                "parsed_directory_file_id": document.file_id,
                "attachments": [
                    {"attachment_name": name, "source_id": document.file_id, "type": "screenshot"},
                ]
                if name
                else [],
            },
        }


@dataclass(frozen=True, slots=True)
class _Reading:
    """The result of reading one file: a document, or None with the reason among the warnings."""

    document: Document | None
    passages: Sequence[Passage]
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Content:
    """Everything that was read at one time. It is replaced as a whole, so a search sees a single state of the files."""

    files: Mapping[DocumentFile, _Reading]
    documents: Mapping[str, Document]
    passages: Sequence[Passage]
    frequencies: Mapping[str, int]
    ranking: Any
    skipped: tuple[str, ...]
    warnings: tuple[str, ...]


class Index:
    """The documents under `path`, a folder or a file, ready to be searched.

    Safe to use from several threads. `open_index` makes one.
    """

    def __init__(self, index_id: str, path: Path) -> None:
        self.index_id = index_id
        self.path = path.resolve()
        self.name = self.path.name or str(self.path)
        self._refreshing = threading.Lock()
        self._drawing = threading.Lock()
        self._screenshots: OrderedDict[tuple[DocumentFile, int], bytes] = OrderedDict()
        self._content = _read(index_id, self.path, None)

    def __repr__(self) -> str:
        return f"Index({self.index_id!r}, {str(self.path)!r})"

    @property
    def documents(self) -> list[Document]:
        """The documents that are searched, sorted by name."""
        return list(self._content.documents.values())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was left out of the index and why, one line per file or folder."""
        return self._content.warnings

    def search(self, query: str, *, limit: int = 5, page: int | None = None) -> list[Hit]:
        """Return the passages that share most with `query`, best first; none if none shares a word with it.

        With `page`, only passages of pages with this number count, and they need not share a word.
        """
        content = self._content
        if limit < 1:
            return []
        hits = [
            Hit(self.index_id, passage, score)
            for passage, score in zip(content.passages, _scores(content, query), strict=True)
            if (score > 0 if page is None else passage.page.number == page)
        ]
        # The sort is stable: of two passages with one score the earlier comes first.
        return sorted(hits, key=lambda hit: -hit.score)[:limit]

    def openings(self, question: str) -> list[Hit]:
        """Return the openings of the documents whose file names the question mentions, or of the only document."""
        content = self._content
        asked = set(terms(question))
        first = [
            Hit(self.index_id, passage, score)
            for passage, score in zip(content.passages, _scores(content, question), strict=True)
            if passage.chunk_index == 0
        ]
        named = [hit for hit in first if asked & set(terms(re.sub(r"[\W_]+", " ", hit.passage.document.name)))]
        return named or (first if len(first) == 1 else [])

    def rarity(self, term: str) -> float:
        """Return how telling a term is here: BM25's inverse document frequency, highest if it never occurs."""
        count = self._content.frequencies.get(term, 0)
        return math.log(1 + (len(self._content.passages) - count + 0.5) / (count + 0.5))

    def knows(self, term: str) -> bool:
        """Tell whether any passage contains the term."""
        return term in self._content.frequencies

    def page(self, file_id: str, number: int) -> Page | None:
        """Return a whole page of a PDF, or None if there is no such file or page, or no text on it."""
        document = self._content.documents.get(file_id)
        return document.page(number) if document else None

    def attachments(self, source_id: str) -> list[str] | None:
        """Return the names of a document's page screenshots, none for a text, or None for an unknown document."""
        document = self._content.documents.get(source_id)
        if document is None:
            return None
        return [name for name in map(screenshot_name, document.pages) if name]

    def attachment(self, source_id: str, attachment_name: str) -> bytes | None:
        """Return a page screenshot as JPEG, drawn when it is first requested, or None if there is none."""
        content = self._content
        document = content.documents.get(source_id)
        match = _SCREENSHOT.fullmatch(attachment_name)
        if document is None or match is None or document.page(number := int(match[1])) is None:
            return None
        file = next(file for file in content.files if file.file_id(self.index_id) == source_id)
        if not _lies_in(self.path, file):
            return None
        with self._drawing:
            image = self._screenshots.get((file, number))
            if image is None:
                try:
                    image = render_page(file.path, number)
                except (PdfError, OSError):  # changed or gone since it was read
                    return None
                if image is None:
                    return None
                self._screenshots[file, number] = image
                if len(self._screenshots) > _CACHED_SCREENSHOTS:
                    self._screenshots.popitem(last=False)
            return image

    def refresh(self) -> None:
        """Read what has changed on disk, judged by size and time; cheap if nothing has.

        Raises `DocumentError` if there is nothing left to search. The index then keeps its content.
        """
        with self._refreshing:
            self._content = _read(self.index_id, self.path, self._content)


def open_index(index_id: str, path: Path) -> Index:
    """Open an index of the documents in a folder and below it, or of a single file.

    Raises `DocumentError` if there is no such folder, or nothing in it that can be read. A file that cannot be read
    while others can is left out, with a line in `Index.warnings`.
    """
    return Index(index_id, path)


def screenshot_name(page: Page) -> str:
    """Return the attachment name of a page's screenshot, "" for a section of a text."""
    return "" if page.number is None else f"screenshots/page_{page.number}.jpg"


def _scores(content: _Content, query: str) -> list[float]:
    """Return the BM25 score of every passage, all 0 if no word of the query occurs."""
    known = [term for term in dict.fromkeys(terms(query)) if term in content.frequencies]
    known = [term for term in known if term not in QUESTION_WORDS] or known
    scores: list[float] = content.ranking.get_scores(known).tolist() if known else [0.0] * len(content.passages)
    return scores


def _read(index_id: str, root: Path, before: _Content | None) -> _Content:
    """Read the files as they are now. Those that have not changed since `before` are not opened again."""
    files, skipped = find_files(root)
    if before and list(before.files) == files and tuple(skipped) == before.skipped:
        return before
    known: Mapping[DocumentFile, _Reading] = before.files if before else {}
    readings = {file: known.get(file) or _reading(index_id, root, file) for file in files}
    warnings = (*skipped, *(warning for reading in readings.values() for warning in reading.warnings))
    documents = {reading.document.file_id: reading.document for reading in readings.values() if reading.document}
    if not documents:
        reasons = "".join(f"\n  {warning}" for warning in warnings[:_SHOWN_REASONS])
        more = f"\n  and {len(warnings) - _SHOWN_REASONS} more" if len(warnings) > _SHOWN_REASONS else ""
        what = "no document in it can be read" if files else "there are no documents in it"
        if files and files[0].path == root:
            raise DocumentError(f"cannot read {root}: {warnings[0].partition(': left out, ')[2]}")
        raise DocumentError(f"cannot serve {root}: {what}{':' if reasons else ''}{reasons}{more}")
    passages = [passage for reading in readings.values() for passage in reading.passages]
    words = [passage.terms for passage in passages]
    ranking = _bm25s.BM25(method="lucene")
    ranking.index(words, show_progress=False)
    frequencies = Counter(term for found in words for term in set(found))
    return _Content(readings, documents, passages, frequencies, ranking, tuple(skipped), warnings)


def _lies_in(root: Path, file: DocumentFile) -> bool:
    """Tell whether the file is still what was found below the root, and not a link in its place."""
    try:
        return file.path.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):  # it has gone, or is a loop of links
        return False


def _reading(index_id: str, root: Path, file: DocumentFile) -> _Reading:
    if not _lies_in(root, file):
        return _Reading(None, (), [f"{file.name}: left out, it has gone or has become a symbolic link"])
    try:
        document, warnings = read_document(file, index_id)
    except Unreadable as error:
        return _Reading(None, (), [f"{file.name}: left out, {error}"])
    passages = passages_of(document)
    if not any(passage.terms for passage in passages):
        return _Reading(None, (), [f"{file.name}: left out, it has no words"])
    return _Reading(document, passages, warnings)
