"""Show the files and pages that an answer cites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.show.text import one_line
from chat_sessions.core.sources import Source, page_range

__all__ = ["Cited", "cited", "show_sources"]

_NO_FILE = "(no file named)"


@dataclass(frozen=True)
class Cited:
    """A page of a file, or a file, that an answer cites: the best score of its passages, and their texts."""

    file: str | None
    pages: str
    score: float | None
    passages: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The file and page in one phrase."""
        return " ".join(part for part in (self.file, self.pages) if part) or _NO_FILE


def cited(sources: Iterable[Source], files: Mapping[str, str] | None = None) -> list[Cited]:
    """List the places that the sources name, each once, in order. `files` maps ids of files to names."""
    sources = list(sources)
    names = {source.file_id: source.file_name for source in sources if source.file_id and source.file_name}
    names = {**(files or {}), **names}
    found: dict[tuple[str | None, str], Cited] = {}
    for source in sources:
        file = source.file_name or names.get(source.file_id or "") or source.file_id
        pages = page_range(source)
        key = (file and one_line(file, 100), f"p. {pages}" if pages else "")
        known = found.get(key)
        scores = [score for score in (source.score, known.score if known else None) if score is not None]
        passages = dict.fromkeys([*(known.passages if known else ()), source.text.strip()])
        found[key] = Cited(*key, max(scores, default=None), tuple(filter(None, passages)))
    return list(found.values())


def show_sources(sources: Iterable[Source], terminal: Terminal) -> None:
    """Print the cited places as a table of file, page and score."""
    places = cited(sources)
    if not places:
        return
    terminal.line()
    terminal.line("Sources", "bold")
    widest = max(cell_len(entry.file or _NO_FILE) for entry in places)
    pages = max(len(entry.pages) for entry in places)
    for number, entry in enumerate(places, 1):
        score = "" if entry.score is None else f"score {entry.score:.2f}"
        file = set_cell_size(entry.file or _NO_FILE, widest)
        terminal.line(f"{number:>3}  {file}  {entry.pages:<{pages}}  {score}".rstrip())
