"""Finds the files of a folder and reads them as documents."""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server.documents.markdown import read_text
from chat_sessions.server.documents.pages import Document, Page
from chat_sessions.server.documents.pdf import PdfError, read_pdf

__all__ = ["MAX_FILES", "MAX_FILE_BYTES", "DocumentError", "DocumentFile", "Unreadable", "find_files", "read_document"]

MAX_FILE_BYTES = 100 * 1024 * 1024
"""A larger file is not read."""

MAX_FILES = 5000
"""How many files of one folder are read, in the order of their names."""

_MAX_TEXT_BYTES = 20 * 1024 * 1024
_MAX_UNPACKED_BYTES = 500 * 1024 * 1024
_NEEDS_EXTRA = "{kind} files need the extra: pip install 'chat-sessions[documents]'"
_TEXT = frozenset((".md", ".markdown", ".txt", ".rst"))
_PDF = frozenset((".pdf",))
_CONVERTED = frozenset((".docx", ".pptx", ".xlsx", ".xls", ".html", ".htm", ".csv", ".epub", ".msg", ".ipynb"))
_ARCHIVES = frozenset((".docx", ".pptx", ".xlsx", ".epub"))
_KINDS = _TEXT | _PDF | _CONVERTED


class DocumentError(ConfigurationError):
    """A folder or file cannot be served: it is missing, has no documents, or none that can be read."""


class Unreadable(Exception):
    """A file cannot be read. The message says why, without its name."""


@dataclass(frozen=True, slots=True)
class DocumentFile:
    """A file to read: its path, its `name` within the folder, and what shows whether it has changed."""

    path: Path
    name: str
    size: int
    modified_ns: int

    def file_id(self, index_id: str) -> str:
        """Return an id that stays the same as long as the file keeps its name and its index."""
        return "dfl-" + hashlib.sha256(f"{index_id}\0{self.name}".encode()).hexdigest()[:16]


def find_files(root: Path) -> tuple[list[DocumentFile], list[str]]:
    """Find the documents in a folder and below it, sorted by name, or the single file `root`; and return warnings.

    Hidden files and folders are skipped, and so is every symbolic link below `root`: only what is in the folder is
    served. Raises `DocumentError` if there is no such folder or file.
    """
    try:
        mode = root.stat().st_mode
    except OSError as error:
        raise DocumentError(f"cannot read {root}: {_reason(error)}") from error
    if stat.S_ISREG(mode):
        if root.suffix.lower() not in _KINDS:
            raise DocumentError(f"cannot read {root}: {root.suffix or 'a file without an ending'} is {_KNOWN_KINDS}")
        status = root.stat()
        return [DocumentFile(root, _relative(root, root.parent), status.st_size, status.st_mtime_ns)], []
    if not stat.S_ISDIR(mode):
        raise DocumentError(f"cannot read {root}: it is neither a folder nor a file")
    warnings: list[str] = []
    files = sorted(_walk(root, warnings), key=lambda file: file.name)
    if len(files) > MAX_FILES:
        warnings.append(f"only the first {MAX_FILES} of {len(files)} documents were read")
    return files[:MAX_FILES], warnings


def read_document(file: DocumentFile, index_id: str) -> tuple[Document, list[str]]:
    """Read a file. Returns its document, and warnings that name it. Raises `Unreadable` with the reason."""
    if file.size > MAX_FILE_BYTES:
        raise Unreadable(f"it is larger than {MAX_FILE_BYTES // 1024 // 1024} MB")
    kind = file.path.suffix.lower()
    warnings: list[str] = []
    try:
        if kind in _PDF:
            pages, warnings = read_pdf(file.path)
            if not pages:
                raise Unreadable("none of its pages has text (a scan needs text recognition first)")
        elif kind in _TEXT:
            pages = _read_text_file(file)
        else:
            pages = read_text(_converted(file.path))
    except PdfError as error:
        raise Unreadable(str(error)) from error
    except OSError as error:
        raise Unreadable(_reason(error)) from error
    if not pages:
        raise Unreadable("it has no text")
    return Document(file.file_id(index_id), file.name, tuple(pages)), [
        f"{file.name}: {warning}" for warning in warnings
    ]


_KNOWN_KINDS = "not a kind of document that can be served; these are: " + ", ".join(sorted(_KINDS))


def _walk(root: Path, warnings: list[str]) -> Iterator[DocumentFile]:
    def refused(error: OSError) -> None:
        warnings.append(f"{_relative(Path(error.filename), root)}: skipped, {_reason(error)}")

    for folder, folders, names in os.walk(root, onerror=refused):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links = [path for name in folders if (path := Path(folder, name)).is_symlink()]
        warnings += [f"{_relative(path, root)}: skipped, it is a symbolic link" for path in links]
        for name in names:
            path = Path(folder, name)
            if name.startswith(".") or path.suffix.lower() not in _KINDS:
                continue
            try:
                status = path.lstat()
            except OSError as error:
                refused(error)
                continue
            if stat.S_ISLNK(status.st_mode):
                warnings.append(f"{_relative(path, root)}: skipped, it is a symbolic link")
            elif stat.S_ISREG(status.st_mode):
                yield DocumentFile(path, _relative(path, root), status.st_size, status.st_mtime_ns)


def _relative(path: Path, root: Path) -> str:
    """Return the name within the folder, with bytes that are not UTF-8 as `\\xe9`, so that two names stay distinct."""
    # In Python's own form, with lone surrogates, the name would not fit into any answer.
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")


def _read_text_file(file: DocumentFile) -> list[Page]:
    if file.size > _MAX_TEXT_BYTES:
        raise Unreadable(f"it is a text of more than {_MAX_TEXT_BYTES // 1024 // 1024} MB")
    data = file.path.read_bytes()
    if b"\0" in data:
        raise Unreadable("it is not a text in UTF-8")
    return read_text(data.decode("utf-8-sig", "replace"))


def _converted(path: Path) -> str:
    """Convert the file to Markdown. Archives are checked first: a damaged one would be converted as text."""
    kind = path.suffix.lower()
    if find_spec("markitdown") is None:
        raise Unreadable(_NEEDS_EXTRA.format(kind=kind))
    if kind in _ARCHIVES:
        try:
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
        except zipfile.BadZipFile as error:
            raise Unreadable(f"it is damaged or not a {kind} file") from error
        if unpacked > _MAX_UNPACKED_BYTES:
            raise Unreadable(f"it unpacks to more than {_MAX_UNPACKED_BYTES // 1024 // 1024} MB")
    from markitdown import MarkItDown

    try:
        return MarkItDown(enable_plugins=False).convert_local(str(path)).text_content
    except Exception as error:
        if "MissingDependency" in str(type(error)) + str(error):
            raise Unreadable(_NEEDS_EXTRA.format(kind=kind)) from error
        raise Unreadable(f"it could not be converted ({type(error).__name__})") from error


def _reason(error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return "there is no such file or folder"
        case PermissionError():
            return "it may not be read (permission denied)"
        case _:
            return (error.strerror or type(error).__name__).lower()
