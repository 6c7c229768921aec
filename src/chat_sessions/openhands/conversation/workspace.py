# Generated from async_workspace.py by scripts/generate_sync.py: edit that file, then run `make format`.
"""The files of the folder that a conversation's agent works in."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from typing import TypeVar

from chat_sessions.core.errors import APIStatusError, ConfigurationError
from chat_sessions.http.calls import Call
from chat_sessions.http.client import HTTPClient
from chat_sessions.openhands.conversation.calls import (
    command_call,
    download_call,
    listing_words,
    names_in,
    upload_call,
)
from chat_sessions.openhands.events.json_values import JsonObject, as_object, as_text
from chat_sessions.openhands.settings import Settings
from chat_sessions.openhands.wire import info_call, is_route_missing, read_object

__all__ = ["Workspace"]

_Read = TypeVar("_Read")
_ROUTES = ("/api/file/", "/api/bash/")


class Workspace:
    """The files of one conversation's folder, on the server's machine.

    A path is relative to the folder, with "/" between its parts, or absolute. Files are held in memory whole.
    """

    def __init__(
        self,
        http: HTTPClient,
        settings: Settings,
        session_id: str,
        lacks: Callable[[str, str], ConfigurationError],
    ) -> None:
        self._http = http
        # Makes the error for what the server cannot do.
        self._lacks = lacks
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
                # Relative to the server's working folder, which only its shell knows.
                folder = posixpath.join((self._output(["pwd"], None)).strip(), folder)
            self._folder = folder
        return self._folder

    def upload(self, path: str, content: bytes | str) -> str:
        """Write a file, which may exist, and the folders above it. Returns its absolute path. Text is UTF-8."""
        target = self._path(path)
        data = content.encode() if isinstance(content, str) else content
        self._read(upload_call(target, data), _content)
        return target

    def download(self, path: str) -> bytes:
        """Return a file's content. Raises `NotFoundError` if there is none."""
        return self._read(download_call(self._path(path)), _content)

    def list(self, path: str = ".") -> list[str]:
        """Return the names in a folder, sorted; names of folders end with "/". Raises `ConfigurationError`.

        The server has no route for that: its shell is asked, which a server may not allow.
        """
        return names_in(self._output(listing_words(self._path(path)), None))

    def _path(self, path: str) -> str:
        if not path or "\0" in path:
            raise ConfigurationError(f"{path!r} is not a valid path")
        return posixpath.normpath(posixpath.join(self.folder(), path))

    def _output(self, words: Sequence[str], folder: str | None) -> str:
        answer = self._object(command_call(words, folder))
        if answer.get("exit_code") != 0:
            why = as_text(answer.get("stderr")).strip() or "the command failed"
            raise ConfigurationError(f"{words[-1]!r} cannot be listed on the server: {why}")
        return as_text(answer.get("stdout"))

    def _object(self, call: Call) -> JsonObject:
        return self._read(call, self._read_object)

    def _read(self, call: Call, read: Callable[[Call, bytes], _Read]) -> _Read:
        try:
            return self._http.read(call, read)
        except APIStatusError as error:
            # A conversation that is not known is met by `folder`, before any of these.
            if not (is_route_missing(error) and call.path.startswith(_ROUTES)):
                raise
            raise self._lacks("such files", f"{call} needs a later one") from error

    def _read_object(self, call: Call, content: bytes) -> JsonObject:
        return read_object(call, content, secrets=self._settings.secrets_of(call))


def _content(call: Call, content: bytes) -> bytes:  # noqa: ARG001 - a reader like the others
    return content
