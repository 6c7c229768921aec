"""What a model knows of the sessions that its turns run in."""

from __future__ import annotations

import threading
from collections import OrderedDict

from chat_sessions.langchain.default_client import client_or_default
from chat_sessions.session import Backend, ChatSession

__all__ = ["Sessions"]

_RECENT = 256


class Sessions:
    """The recent sessions of a model and its copies, by id, and the client that they made if they were given none.

    None is ever chosen from here. What a `ChatSession` knows of its indexes and turns saves a request before each
    turn, and tells a new turn from an old one when a stream broke. Nothing of it goes into a pickle: elsewhere, that
    may be out of date.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._made: Backend | None = None
        self._recent: OrderedDict[str, ChatSession] = OrderedDict()

    def __reduce__(self) -> tuple[type[Sessions], tuple[()]]:
        return Sessions, ()

    def __deepcopy__(self, memo: object) -> Sessions:
        return self

    def client(self) -> Backend:
        """Return the client made from the environment. Raises `ConfigurationError` if there is no key."""
        with self._guard:
            if self._made is None:
                self._made = client_or_default(None)
            return self._made

    def get(self, session_id: str, client: Backend) -> ChatSession | None:
        """Return the session of this id if it is a recent one of this client: a copy of the model may have another."""
        with self._guard:
            session = self._recent.get(session_id)
        return session if session is not None and session.client is client else None

    def keep(self, session: ChatSession) -> None:
        """Keep a session that a turn is about to run in."""
        if session.id is None:
            return
        with self._guard:
            self._recent[session.id] = session
            self._recent.move_to_end(session.id)
            while len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
