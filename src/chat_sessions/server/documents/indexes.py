"""An index: the files of one folder, searched by word and kept up to date with the disk."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

from pydantic import JsonValue

from chat_sessions.server.documents.files import DocumentError, DocumentFile, contents, file_id, find_files, readable
from chat_sessions.server.documents.intake import Intake, Progress
from chat_sessions.server.documents.keeping import IndexStore, Kept, NotKept, in_memory, open_store
from chat_sessions.server.documents.queries import Query, query_of
from chat_sessions.server.documents.ranking import Ranked, Ranking, rarity
from chat_sessions.server.documents.readers import Passage, Sheet

__all__ = ["Document", "Drawing", "Hit", "Index", "open_index", "rarity_in"]

_SCREENSHOT = re.compile(r"screenshots/page_([1-9]\d{0,5})\.jpg", re.ASCII)
_SHOWN_REASONS = 5
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Document:
    """A file that is searched. `name` is its path within the folder, with `/`; `file_id` follows from it."""

    file_id: str
    name: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that a search found, with its BM25 score. Higher is better; scores compare only within a search.

    `size` is the width and height of its page in points, None if the page cannot be drawn.
    """

    index_id: str
    document: Document
    passage: Passage
    chunk_index: int
    score: float
    size: tuple[float, float] | None

    @property
    def attachment_name(self) -> str | None:
        """The name of its page's image, None without one."""
        return screenshot_name(self.passage.page) if self.size and self.passage.page is not None else None

    def as_result(self) -> dict[str, JsonValue]:
        """Return the hit as an item of `results` in the platform's retrieval API.

        A text file has no pages: its `page_range_*` are None, and it has no screenshots. A passage whose place on its
        page is known has two fields more, named as the platform's extraction names them.
        """
        page, document = self.passage.page, self.document
        name = self.attachment_name
        return {
            "content": self.passage.text,
            "score": round(self.score, 4),
            "rerank_score": None,
            "metadata": {"file_name": document.name, "section": self.passage.section, "index_id": self.index_id},
            "static_fields": {
                "page_range_start": page,
                "page_range_end": page,
                "chunk_index": self.chunk_index,
                "parsed_directory_file_id": document.file_id,
                "attachments": [
                    {"attachment_name": name, "source_id": document.file_id, "type": "screenshot"},
                ]
                if name
                else [],
                **self._place(),
            },
        }

    def _place(self) -> dict[str, JsonValue]:
        if not self.size or not self.passage.boxes:
            return {}
        boxes: list[JsonValue] = [dict(zip("xywh", box, strict=True)) for box in self.passage.boxes]
        return {
            "bounding_boxes": boxes,
            "page_dimensions": {"width": round(self.size[0], 1), "height": round(self.size[1], 1)},
        }


@dataclass(frozen=True, slots=True)
class Drawing:
    """What is needed to draw a page: the bytes of its file, and what tells it from others."""

    data: Callable[[], bytes]
    number: int
    side: float
    stamp: tuple[str, *tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class _Content:
    """Everything that was read at one time. It is replaced as a whole, so a search sees a single state of the files."""

    files: Mapping[str, DocumentFile]
    kept: Mapping[str, Kept]
    by_id: Mapping[str, str]
    ranking: Ranking
    notes: tuple[str, ...]
    left_out: Mapping[str, str]

    @property
    def warnings(self) -> tuple[str, ...]:
        return (*self.notes, *(f"{name}: left out, {reason}" for name, reason in self.left_out.items()))


class Index:
    """The documents under `path`, a folder or a file, ready to be searched.

    Safe to use from several threads. `open_index` makes one.
    """

    def __init__(self, index_id: str, path: Path, store: IndexStore, *, on_progress: Progress | None = None) -> None:
        self.index_id = index_id
        self.path = path.resolve()
        self.name = readable(self.path.name or str(self.path))
        self._store = store
        self._intake = Intake(store)
        self._waiting = 0
        self._refreshing = threading.Lock()
        self._content = _Content({}, {}, {}, Ranking([], []), (), {})
        self.refresh(on_progress)

    def __repr__(self) -> str:
        return f"Index({self.index_id!r}, {str(self.path)!r})"

    @property
    def documents(self) -> list[Document]:
        """The documents that are searched, sorted by name."""
        return [Document(file_id(self.index_id, file.name), file.name) for file in self._content.ranking.files]

    @property
    def count(self) -> int:
        """The number of documents that are searched."""
        return len(self._content.ranking.files)

    @property
    def languages(self) -> frozenset[str]:
        """The languages of the documents, as codes of ISO 639-3."""
        return self._content.ranking.languages

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was left out of the index, in part or as a whole, and why: one line per file or folder."""
        return self._content.warnings

    @property
    def notes(self) -> tuple[str, ...]:
        """What was skipped or read in part, and why: `warnings` without the files that are in `left_out`."""
        return self._content.notes

    @property
    def left_out(self) -> Mapping[str, str]:
        """The files that could not be read, each with the reason."""
        return self._content.left_out

    @property
    def waiting(self) -> int:
        """How many new and changed files are being read just now: a search does not find what they say yet."""
        return self._waiting

    def query(self, prompt: str, earlier: str = "") -> Query:
        """Return what a search for the prompt looks for; the words of the `earlier` prompt count less."""
        return query_of(self._content.ranking, prompt, earlier)

    def search(self, prompt: str, *, earlier: str = "", limit: int = 5, beside: Sequence[Index] = ()) -> list[Hit]:
        """Return the passages that fit the prompt best, best first; none if none shares a word with it.

        Word rarity is computed over the indexes `beside` this one, too, so that their scores are comparable.
        """
        content = self._content
        if limit < 1:
            return []
        query = query_of(content.ranking, prompt, earlier)
        everything = [self, *(index for index in beside if index is not self)]
        weights = {term: weight * rarity_in(everything, term) for term, weight in query.weights.items()}
        hits: list[Hit] = []
        for found in content.ranking.best(weights, limit):
            passage = self._store.passage(found.file.document, found.chunk)
            sheet = None if passage.page is None else self._store.sheet(found.file.document, passage.page)
            size = (sheet.width, sheet.height) if sheet and sheet.side else None
            document = Document(file_id(self.index_id, found.file.name), found.file.name)
            hits.append(Hit(self.index_id, document, passage, found.chunk, found.score, size))
        return hits

    def frequency(self, term: str) -> int:
        """Return how many passages have a term."""
        return self._content.ranking.frequency(term)

    @property
    def size(self) -> int:
        """How many passages there are."""
        return self._content.ranking.size

    def page(self, source_id: str, number: int) -> Sheet | None:
        """Return a page of a document, or None if there is no such document or page."""
        name = self._content.by_id.get(source_id)
        return None if name is None else self._store.sheet(self._content.kept[name].id, number)

    def attachments(self, source_id: str) -> list[str] | None:
        """Return the names of a document's page screenshots, none for a text, or None for an unknown document."""
        content = self._content
        name = content.by_id.get(source_id)
        if name is None:
            return None
        return [screenshot_name(number) for number in self._store.drawable(content.kept[name].id)]

    def drawing(self, source_id: str, attachment_name: str) -> Drawing | bytes | None:
        """Return what is needed to draw a page screenshot, or None if there is none."""
        content = self._content
        match = _SCREENSHOT.fullmatch(attachment_name)
        name = content.by_id.get(source_id)
        if name is None or match is None:
            return None
        side = self._side(content.kept[name].id, int(match[1]))
        file = content.files[name]
        if not side:
            return None
        stamp = (name, *file.state)
        return Drawing(lambda: contents(file, self._root), int(match[1]), side, stamp)

    def check(self) -> None:
        """Raise `DocumentError` if the folder has gone: one look at the disk."""
        if not self.path.exists():
            raise DocumentError(f"cannot read {self.path}: there is no such file or folder")

    def refresh(self, on_progress: Progress | None = None) -> None:
        """Read what has changed on disk, judged by size and times; cheap if nothing has.

        Raises `DocumentError` if there is nothing left to search. The index then keeps its content.
        """
        with self._refreshing:
            try:
                self._read(on_progress)
            finally:
                self._waiting = 0

    def stop_reading(self) -> None:
        """End a `refresh` that is under way in another thread; it raises then. What was read until then is kept."""
        self._intake.stop()

    @property
    def _root(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    def _side(self, document: int, number: int) -> float:
        sheet = self._store.sheet(document, number)
        return sheet.side if sheet else 0.0

    def _read(self, on_progress: Progress | None) -> None:
        """Read the files as they are now. Those that have not changed are not opened again."""
        before = self._content
        files, skipped = find_files(self.path)
        now = {file.name: file for file in files}
        warned = [note for note in before.notes if note in skipped]
        if now == before.files and warned == skipped and before.files:
            return
        root = readable(str(self.path))
        kept: dict[str, Kept] = {}
        gone: dict[str, str] = {}
        seen = {} if before.files else self._store.seen(root)
        for name, file in now.items():
            if before.files.get(name) == file:
                if name in before.kept:
                    kept[name] = before.kept[name]
                else:
                    gone[name] = before.left_out[name]
            elif name in seen and seen[name][0] == file.state:
                kept[name] = seen[name][1]
        missing = [file for file in files if file.name not in kept and file.name not in gone]
        if missing:
            _log.info("reading %d of %d files in %s", len(missing), len(files), self.path)
        self._waiting = len(missing)
        read, unread = self._intake.read(missing, self._root, on_progress) if missing else ({}, {})
        kept |= read
        gone |= unread
        left = [name for name in (before.kept or seen) if name not in kept]
        if read or left or not before.files:
            self._store.see(root, [(now[name], one) for name, one in read.items()], left)
        self._content = self._made(now, {name: kept[name] for name in now if name in kept}, gone, skipped)

    def _made(
        self,
        files: Mapping[str, DocumentFile],
        kept: Mapping[str, Kept],
        gone: Mapping[str, str],
        skipped: Sequence[str],
    ) -> _Content:
        failed = {name: one.failure for name, one in kept.items() if one.failure}
        said = [f"{name}: {note}" for name, one in kept.items() if not one.failure for note in one.notes]
        ranked = [Ranked(name, one.id, one.passages, one.language) for name, one in kept.items() if one.passages]
        by_id = {file_id(self.index_id, file.name): file.name for file in ranked}
        content = _Content(
            files, kept, by_id, Ranking([], []), (*skipped, *said), dict(sorted({**gone, **failed}.items()))
        )
        if not ranked:
            self._refuse(files, content.warnings)
        for warning in sorted(set(content.warnings) - set(self._content.warnings)):
            _log.warning("index %s: %s", self.index_id, warning)
        before = self._content.ranking if self._content.files else None
        return replace(content, ranking=Ranking.of(self._store, readable(str(self.path)), ranked, before))

    def _refuse(self, files: Mapping[str, DocumentFile], warnings: Sequence[str]) -> None:
        if len(files) == 1 and next(iter(files.values())).path == self.path:
            raise DocumentError(f"cannot read {self.path}: {warnings[0].partition(': left out, ')[2]}")
        reasons = "".join(f"\n  {warning}" for warning in warnings[:_SHOWN_REASONS])
        more = f"\n  and {len(warnings) - _SHOWN_REASONS} more" if len(warnings) > _SHOWN_REASONS else ""
        what = "no file in it can be read" if files or warnings else "there are no files in it"
        raise DocumentError(f"cannot serve {self.path}: {what}{':' if reasons else ''}{reasons}{more}")


def rarity_in(indexes: Sequence[Index], term: str) -> float:
    """Return how distinctive a term is across indexes: BM25's inverse document frequency."""
    return rarity(sum(index.frequency(term) for index in indexes), max(1, sum(index.size for index in indexes)))


def open_index(
    index_id: str,
    path: str | PathLike[str],
    *,
    index_store: IndexStore | str | PathLike[str] | None = None,
    on_progress: Progress | None = None,
) -> Index:
    """Open an index of the documents in a folder and below it, or of a single file.

    What is read is kept in the `index_store`, a folder; None means the user's cache folder, ":memory:" nowhere. Files
    whose content is known are not read again. `on_progress` is called with the number of files read, that of all to
    read, and the name of the last one.

    Raises `DocumentError` if there is no such folder, or nothing in it that can be read. A file that cannot be read
    while others can is left out, with a line in `Index.warnings`. What was read is kept when this is interrupted.
    Raises `ConfigurationError` if nothing can be kept in the folder that was named, because its disk is full for
    example; in the default folder, that is logged.
    """
    store = index_store if isinstance(index_store, IndexStore) else open_store(index_store)
    try:
        return Index(index_id, Path(path), store, on_progress=on_progress)
    except NotKept as error:
        if not store.is_default:
            raise
        memory = in_memory(error)
    return Index(index_id, Path(path), memory, on_progress=on_progress)


def screenshot_name(number: int) -> str:
    """Return the attachment name of a page's screenshot."""
    return f"screenshots/page_{number}.jpg"
