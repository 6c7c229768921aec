"""The folders that the local server has been asked about: an index id for each, and where it lies.

A session remembers index ids, not folders; this remembers the folders, so that a session can be
continued by its id alone. Kept as `folders.json` beside the sessions.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from platformdirs import user_data_path
from pydantic import TypeAdapter, ValidationError

from chat_sessions.cli.errors import UnknownName
from chat_sessions.core.errors import ConfigurationError

__all__ = ["Folders", "data_folder", "index_id_of"]

_SLUG = re.compile(r"[^a-z0-9]+")
_entries: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])


def data_folder() -> Path:
    """The folder of the local sessions, made if it is not there: `CHAT_SESSIONS_DATA`, else the user's data folder."""
    given = os.environ.get("CHAT_SESSIONS_DATA")
    folder = Path(given) if given else user_data_path("chat-sessions", appauthor=False)
    if not (given or folder.is_absolute()):
        raise ConfigurationError("there is no home folder to keep local sessions in; name one in CHAT_SESSIONS_DATA")
    if "?" in str(folder):
        raise ConfigurationError(
            f"the folder {folder} for local sessions has a '?' in its path, which no store can have"
        )
    try:
        # Sessions hold what the user's documents say: nobody else's to read.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the folder {folder} for local sessions cannot be made ({error.strerror}); "
            "name another in CHAT_SESSIONS_DATA"
        ) from error
    return folder


def index_id_of(path: Path) -> str:
    """The index id of a folder or file: from its name, and from its whole path, so that each has its own."""
    path = path.resolve()
    name = _SLUG.sub("-", path.name.lower()).strip("-")[:32].strip("-")
    return f"idx-{name or 'folder'}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"


class Folders:
    """Index ids and their folders."""

    def __init__(self, data: Path) -> None:
        self._file = data / "folders.json"
        try:
            self._paths = _entries.validate_json(self._file.read_bytes())
        except FileNotFoundError:
            self._paths = {}
        except (OSError, ValidationError) as error:
            raise ConfigurationError(f"{self._file} cannot be read; remove it, and name folders by --index") from error

    def resolve(self, given: Iterable[str]) -> dict[str, Path]:
        """The folders and files that were named, by index id; each name is a path or an id known from before.

        Raises `UnknownName` for what is neither.
        """
        found: dict[str, Path] = {}
        for name in given:
            path = Path(name)
            if path.exists():
                found[index_id_of(path)] = path.resolve()
            elif name in self._paths:
                found[name] = self.path_of(name)
            elif name.startswith("idx-"):
                known = f" Known here: {', '.join(sorted(self._paths))}." if self._paths else ""
                raise UnknownName(f"there is no index {name!r} on this machine.{known}")
            else:
                raise UnknownName(f"there is no folder or file {name!r}")
        return found

    def path_of(self, index_id: str) -> Path:
        """Where the documents of a known index lie. Raises `UnknownName` if it is not known, or gone."""
        path = self._paths.get(index_id)
        if path is None:
            raise UnknownName(f"the folder of index {index_id!r} is not known here; name it with --index FOLDER")
        if not Path(path).exists():
            raise UnknownName(f"the documents of index {index_id!r} are gone: there is no {path}")
        return Path(path)

    def name_of(self, index_id: str) -> str:
        """The folder of an index where it is known, else the id."""
        return self._paths.get(index_id, index_id)

    def remember(self, paths: dict[str, Path]) -> None:
        """Keep these folders for later commands."""
        known = {index_id: str(path) for index_id, path in paths.items()}
        if known.items() <= self._paths.items():
            return
        self._paths |= known
        # Written beside and then moved: a crash leaves the old file or the new one.
        with tempfile.NamedTemporaryFile("w", dir=self._file.parent, delete=False, encoding="ascii") as file:
            json.dump(self._paths, file, indent=1)
        Path(file.name).replace(self._file)
