"""The folders that the local server has served, by index id.

A session knows only the ids of its indexes. With their folders, kept in `folders.json` next to the sessions, its own id
is enough to continue it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from platformdirs import user_data_path
from pydantic import TypeAdapter

from chat_sessions.cli.errors import UnknownName
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server.documents.files import readable

__all__ = ["Folders", "data_folder", "existing", "index_id_of", "replace_file", "shortest"]

_SLUG = re.compile(r"[^a-z0-9]+")
_entries: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])


def data_folder() -> Path:
    """Return the folder of the local sessions, created if missing: `CHAT_SESSIONS_DATA`, else the user's data folder.

    Raises `ConfigurationError` if it cannot be used.
    """
    given = os.environ.get("CHAT_SESSIONS_DATA")
    folder = Path(given) if given else user_data_path("chat-sessions", appauthor=False)
    if not (given or folder.is_absolute()):
        raise ConfigurationError("there is no home folder for local sessions; name a folder in CHAT_SESSIONS_DATA")
    if "?" in str(folder):
        raise ConfigurationError(
            f"the folder {folder} for local sessions cannot be used: a store's path must not contain '?'"
        )
    try:
        # Sessions quote the user's documents: only the user may read them.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the folder {folder} for local sessions cannot be created ({error.strerror}); "
            "name another in CHAT_SESSIONS_DATA"
        ) from error
    return folder


def replace_file(path: Path, text: str) -> None:
    """Write a file that only its owner can read. A crash leaves the old file or the new one. Raises `OSError`."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(text)
    Path(file.name).replace(path)


def existing(path: Path) -> Path:
    """Return the whole path of a folder or file. Raises `UnknownName` if it does not exist."""
    if not path.exists():
        raise UnknownName(f"there is no folder or file {str(path)!r}")
    return path.resolve()


def index_id_of(path: Path) -> str:
    """Make an index id from the name of a folder or file and a hash of its whole path."""
    path = path.resolve()
    name = _SLUG.sub("-", path.name.lower()).strip("-")[:32].strip("-")
    return f"idx-{name or 'folder'}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"


def shortest(path: Path) -> str:
    r"""Write the path in its shortest form: relative to the current folder or to the home folder if possible.

    Bytes that are not UTF-8 are written as `\xe9`.
    """
    return readable(_shortest(path))


def _shortest(path: Path) -> str:
    here = Path.cwd()
    # A process may have no home.
    with suppress(RuntimeError):
        is_nearer = Path.home().is_relative_to(here) and Path.home() != here and path.is_relative_to(Path.home())
        if path.is_relative_to(here) and path != here and not is_nearer:
            return str(path.relative_to(here))
        if path.is_relative_to(Path.home()) and path != Path.home():
            return f"~/{path.relative_to(Path.home())}"
    return str(path)


class Folders:
    """Index ids and their folders. Raises `ConfigurationError` if the file with them cannot be read."""

    def __init__(self, data: Path) -> None:
        self._file = data / "folders.json"
        try:
            # Not by `validate_json`, which refuses what JSON can say of a path that is not UTF-8.
            self._paths = _entries.validate_python(json.loads(self._file.read_bytes()))
        except FileNotFoundError:
            self._paths = {}
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{self._file} cannot be read; remove it, and name folders by --index") from error

    def resolve(self, given: Iterable[str]) -> dict[str, Path]:
        """Find folders and files by index id; each name is a path or an id used before.

        Raises `UnknownName` for anything else.
        """
        found: dict[str, Path] = {}
        for name in given:
            path = Path(name)
            if not path.exists() and name in self._paths:
                found[name] = self.path_of(name)
            elif not path.exists() and name.startswith("idx-"):
                known = f" Known here: {', '.join(sorted(self._paths))}." if self._paths else ""
                raise UnknownName(f"there is no index {name!r} on this machine.{known}")
            else:
                found[index_id_of(path)] = existing(path)
        return found

    def path_of(self, index_id: str) -> Path:
        """Find the documents of an index. Raises `UnknownName` if the index is unknown or its documents are gone."""
        path = self._paths.get(index_id)
        if path is None:
            raise UnknownName(f"the folder of index {index_id!r} is not known here; name it with --index FOLDER")
        if not Path(path).exists():
            raise UnknownName(f"the documents of index {index_id!r} are gone: there is no {path}")
        return Path(path)

    def name_of(self, index_id: str) -> str:
        """Return the folder of an index if it is known, else the id."""
        return readable(self._paths.get(index_id, index_id))

    def shown(self, index_id: str) -> str:
        """Return the folder of an index in its shortest form if it is known, else the id."""
        path = self._paths.get(index_id)
        return index_id if path is None else shortest(Path(path))

    def known(self) -> list[str]:
        """List the index ids whose documents are still there, the last one remembered first."""
        return [index_id for index_id, path in reversed(self._paths.items()) if Path(path).exists()]

    def remember(self, paths: dict[str, Path]) -> None:
        """Keep these folders for later commands."""
        known = {index_id: str(path) for index_id, path in paths.items()}
        if known.items() <= self._paths.items():
            return
        self._paths |= known
        replace_file(self._file, json.dumps(self._paths, indent=1))
