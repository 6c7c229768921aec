# Generated from async_workspace.py by scripts/generate_sync.py: edit that file, then run `make format`.
"""The files of the folder that a conversation's agent works in."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.http.calls import Call
from chat_sessions.http.client import HTTPClient
from chat_sessions.openhands.conversation.calls import command_call, download_call, upload_call
from chat_sessions.openhands.events.json_values import JsonObject, as_object, as_text
from chat_sessions.openhands.settings import Settings
from chat_sessions.openhands.wire import info_call, read_object

__all__ = ["Workspace"]


class Workspace:
    """The files of one conversation's folder, on the server's machine.

    A path is relative to the folder, with "/" between its parts, or absolute. Files are held in memory whole.
    """

    def __init__(self, http: HTTPClient, settings: Settings, session_id: str) -> None:
        self._http = http
        self._settings = settings
        self._session_id = session_id
        self._folder: str | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(session_id={self._session_id!r})"

    def folder(self) -> str:
        """Return the folder's absolute path."""
        if self._folder is None:
            info = self._object(info_call(self._session_id))
            folder = as_text(as_object(info.get("workspace")).get("working_dir"))
            if not posixpath.isabs(folder):
                # Relative to the folder that the server runs in, which only its shell tells.
                folder = posixpath.join((self._output(["pwd"], None)).strip(), folder)
            self._folder = folder
        return self._folder

    def upload(self, path: str, content: bytes | str) -> str:
        """Write a file, which may exist, and the folders above it. Returns its absolute path. Text is UTF-8."""
        target = self._path(path)
        data = content.encode() if isinstance(content, str) else content
        self._http.read(upload_call(target, data), _content)
        return target

    def download(self, path: str) -> bytes:
        """Return a file's content. Raises `NotFoundError` if there is none."""
        return self._http.read(download_call(self._path(path)), _content)

    def list(self, path: str = ".") -> list[str]:
        """Return the names in a folder, sorted; a folder's own ends with "/". Raises `ConfigurationError`.

        The server has no route for that: its shell is asked, which a server may not allow.
        """
        folder = self._path(path)
        return sorted((self._output(["ls", "-1Ap", "--", folder], None)).splitlines())

    def _path(self, path: str) -> str:
        if not path or "\0" in path:
            raise ConfigurationError(f"{path!r} is no path")
        return posixpath.normpath(posixpath.join(self.folder(), path))

    def _output(self, words: Sequence[str], folder: str | None) -> str:
        answer = self._object(command_call(words, folder))
        if answer.get("exit_code") != 0:
            why = as_text(answer.get("stderr")).strip() or "the command failed"
            raise ConfigurationError(f"{words[-1]!r} cannot be listed on the server: {why}")
        return as_text(answer.get("stdout"))

    def _object(self, call: Call) -> JsonObject:
        return self._http.read(call, self._read_object)

    def _read_object(self, call: Call, content: bytes) -> JsonObject:
        return read_object(call, content, secrets=self._settings.secrets_of(call))


def _content(call: Call, content: bytes) -> bytes:  # noqa: ARG001 - a reader like the others
    return content
