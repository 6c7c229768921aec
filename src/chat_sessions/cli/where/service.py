"""A service that is ready for questions."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chat_sessions.cli.errors import UnknownName
from chat_sessions.cli.show.text import one_line
from chat_sessions.cli.where.session_names import LAST, full_id
from chat_sessions.core.errors import ConfigurationError, NotFoundError
from chat_sessions.llama_cloud import LlamaCloudChat
from chat_sessions.llama_cloud.settings import REGIONS
from chat_sessions.session import ChatSession, TurnStream

if TYPE_CHECKING:
    from chat_sessions.openhands import OpenHandsChat

__all__ = ["Service", "unknown_session"]

_UUID_BEGINNING = re.compile("[0-9a-fA-F-]+")


@dataclass(frozen=True)
class Service:
    """LlamaCloud or another Chat API, a server in this process, or an OpenHands Agent Server.

    - `name`: what to call the service.
    - `options`: the options that select it again, each after a space.
    - `index_ids`: the indexes that the command named, or None.
    - `index_name`: returns the name to show for an index.
    - `offered`: lists the ids of the service's indexes; empty if it has no list.
    - `lock`: held during a turn, so that no other process opens the store.
    - `interrupt`: stops a session's run where closing the stream is not enough; returns whether it has ended.
    - `warnings`: what a local server could not read of its documents, a line for each file.
    """

    client: LlamaCloudChat | OpenHandsChat
    name: str
    options: str = ""
    is_local: bool = False
    index_ids: tuple[str, ...] | None = None
    index_name: Callable[[str], str] = str
    offered: Callable[[], list[str]] = list
    lock: Callable[[], AbstractContextManager[None]] = nullcontext
    interrupt: Callable[[str], bool] | None = None
    warnings: tuple[str, ...] = ()

    @property
    def openhands(self) -> OpenHandsChat | None:
        """The client if this is an OpenHands Agent Server."""
        return None if isinstance(self.client, LlamaCloudChat) else self.client

    @property
    def is_llama_cloud(self) -> bool:
        """Whether this is LlamaCloud itself, in either region."""
        return self.client.base_url in REGIONS.values()

    def full_id(self, name: str) -> str:
        """Return the id of the session that a name means. Raises `UnknownName`."""
        if self.openhands is not None and name != LAST and not _UUID_BEGINNING.fullmatch(name):
            # The client explains what ids look like.
            return name
        return full_id(name, (summary.session_id for summary in self.client.list(page_size=100)))

    def session(self, name: str | None) -> ChatSession:
        """Return the session of this name, or a new one.

        Raises `UnknownName`, and `ConfigurationError` for a new one without an index.
        """
        session_id = None if name is None else self.full_id(name)
        index_ids = self.index_ids
        if session_id is None and not index_ids and self.openhands is None:
            found = self.offered()
            if len(found) != 1:
                known = f"; the service has {_listed(found)}" if found else ""
                raise ConfigurationError(
                    f"nothing to ask: name an index with --index ID, or a session with --session ID{known}"
                )
            index_ids = (found[0],)
        return self.client.session(session_id, index_ids=index_ids)

    def other_indexes(self, session_id: str | None) -> str | None:
        """Explain that a session asks other indexes than the command named; return None if it does not.

        Raises `ChatSessionsError` if the session cannot be looked up.
        """
        if session_id is None or not self.index_ids:
            return None
        asked = self.client.get_summary(session_id).index_ids or ()
        if not asked or set(asked) == set(self.index_ids):
            return None
        theirs, named = (_listed(map(self.index_name, ids)) for ids in (asked, self.index_ids))
        return (
            f"this session asks {theirs}, not {named}; leave out --index, or leave out --session and --continue to "
            "begin a new session"
        )

    @contextmanager
    def turn(self, stream: TurnStream) -> Generator[None]:
        """Send a turn and close it at the end. On Ctrl-C, also interrupt its run at the service.

        The `KeyboardInterrupt` says what became of the turn.
        """
        is_sent = False
        try:
            with self.lock(), stream:
                is_sent = True
                yield
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._left(stream, is_sent=is_sent)) from None

    def _left(self, stream: TurnStream, *, is_sent: bool) -> str:
        """Interrupt the turn that was left, and say what happens to it."""
        if stream.landed is False:
            return "Interrupted: the question was not sent."
        if self.is_local:
            return "Interrupted: this turn ends here."
        if self.openhands is None:
            return "Stopped reading. The service may still be answering; the next question waits for it."
        # A question that waits for an earlier run must not interrupt that run.
        if (
            is_sent
            and self.interrupt is not None
            and stream.session_id is not None
            and self.interrupt(stream.session_id)
        ):
            return "Interrupted: this turn ends here."
        return "Stopped reading. The agent may continue."

    @contextmanager
    def looking_up(self, name: str) -> Generator[str]:
        """Yield the id of the session that a name means.

        Turns a 404 within the block into an `UnknownName` that has the name: a command may take several.
        """
        try:
            yield self.full_id(name)
        except NotFoundError:
            place = "on this machine" if self.is_local else f"at {self.name}"
            raise unknown_session(name, place, self.options) from None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(one_line(name, 120) for name in names)


def unknown_session(session_id: str, place: str, options: str) -> UnknownName:
    """Make the error for a session that does not exist."""
    return UnknownName(
        f"there is no session {one_line(session_id, 80)!r} {place}; `chat-sessions sessions list{options}` lists "
        "the sessions"
    )
