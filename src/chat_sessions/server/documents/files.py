"""Finds the files of a folder, and reads their bytes."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chat_sessions.core.errors import ConfigurationError

__all__ = [
    "MAX_FILES",
    "MAX_FILE_BYTES",
    "DocumentError",
    "DocumentFile",
    "FileGone",
    "contents",
    "file_id",
    "find_files",
    "readable",
]

MAX_FILE_BYTES = 100 * 1024 * 1024
"""A larger file is not read."""

MAX_FILES = 20_000
"""How many files of one folder are read, in the order of their names."""


class DocumentError(ConfigurationError):
    """A folder or file cannot be served: it is missing, has no documents, or none that can be read."""


class FileGone(Exception):
    """A file cannot be opened. The message says why, without its name."""


@dataclass(frozen=True, slots=True)
class DocumentFile:
    """A file to read: its path, its `name` within the folder, and what shows whether it has changed.

    Programs that copy a file put `modified_ns` back to that of its original; nothing puts back `changed_ns`. A rename
    or new permissions change it, too: then the file is opened, and known by its content.
    """

    path: Path
    name: str
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path, name: str, status: os.stat_result) -> DocumentFile:
        """Return the file with what the disk says of it."""
        return cls(path, name, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    @property
    def state(self) -> tuple[int, int, int]:
        """What differs after each change."""
        return self.size, self.modified_ns, self.changed_ns


def file_id(index_id: str, name: str) -> str:
    """Return an id that stays the same as long as the file keeps its name and its index."""
    return "dfl-" + hashlib.sha256(f"{index_id}\0{name}".encode()).hexdigest()[:16]


def find_files(root: Path) -> tuple[list[DocumentFile], list[str]]:
    """Find the files in a folder and below it, sorted by name, or the single file `root`; and return warnings.

    Hidden files and folders are skipped, and so is every symbolic link below `root`: only what is in the folder is
    served. Raises `DocumentError` if there is no such folder or file.
    """
    try:
        status = root.stat()
    except (OSError, ValueError) as error:
        raise DocumentError(f"cannot read {root}: {_reason(error)}") from error
    if stat.S_ISREG(status.st_mode):
        return [DocumentFile.of(root, _relative(root, root.parent), status)], []
    if not stat.S_ISDIR(status.st_mode):
        raise DocumentError(f"cannot read {root}: it is neither a folder nor a file")
    warnings: list[str] = []
    files = sorted(_walk(str(root), "", warnings), key=lambda file: file.name)
    if len(files) > MAX_FILES:
        warnings.append(f"only the first {MAX_FILES:,} of {len(files):,} files were read")
    return files[:MAX_FILES], warnings


def contents(file: DocumentFile, root: Path) -> bytes:
    """Return the bytes of a file. Raises `FileGone` if it is too large, cannot be opened, or has become a link."""
    try:
        # Open first, then check: a file swapped in between is not read.
        descriptor = os.open(file.path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as opened:
            status = os.fstat(descriptor)
            if not (stat.S_ISREG(status.st_mode) and file.path.resolve(strict=True).is_relative_to(root)):
                raise FileGone("it has become a link or a folder")
            if status.st_size > MAX_FILE_BYTES:
                raise FileGone(f"it is larger than {MAX_FILE_BYTES // 1024 // 1024} MB")
            return opened.read(MAX_FILE_BYTES)
    except (OSError, RuntimeError) as error:
        raise FileGone(_reason(error)) from error


def _walk(folder: str, prefix: str, warnings: list[str]) -> Iterator[DocumentFile]:
    # `scandir` knows most of what is asked here; over thousands of files `Path` would cost more than the disk.
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except OSError as error:
        warnings.append(f"{prefix.rstrip('/') or folder}: skipped, {_reason(error)}")
        return
    for entry in found:
        if entry.name.startswith("."):
            continue
        name = prefix + readable(entry.name)
        try:
            if entry.is_symlink():
                warnings.append(f"{name}: skipped, it is a symbolic link")
            elif entry.is_dir():
                yield from _walk(entry.path, f"{name}/", warnings)
            elif entry.is_file():
                yield DocumentFile.of(Path(entry.path), name, entry.stat())
            else:
                warnings.append(f"{name}: skipped, it is neither a file nor a folder")
        except OSError as error:
            warnings.append(f"{name}: skipped, {_reason(error)}")


def readable(path: str) -> str:
    """Return a path with bytes that are not UTF-8 as `\\xe9`, so that two paths stay distinct."""
    # In Python's own form, with lone surrogates, it would not fit into any answer.
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _relative(path: Path, root: Path) -> str:
    return readable(path.relative_to(root).as_posix())


def _reason(error: Exception) -> str:
    match error:
        case FileNotFoundError():
            return "there is no such file or folder"
        case PermissionError():
            return "no permission to read it"
        case OSError():
            # A link where a file was.
            return (
                "it has become a link"
                if error.strerror == "Too many levels of symbolic links"
                else (error.strerror or type(error).__name__).lower()
            )
        case _:
            return str(error)
