"""What a model knows of the sessions that its turns run in."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, TypeVar

from langchain_core.messages import BaseMessage

from chat_sessions.langchain.default_client import client_or_default
from chat_sessions.session import Backend, ChatSession

__all__ = ["Sessions"]

_RECENT = 256
_RECENT_ANSWERS = 64

_Value = TypeVar("_Value")


class Sessions:
    """The recent sessions of a model and its copies, and the client that they made if they were given none.

    - The session objects by id: what they know of indexes and turns saves requests, and tells a new turn from an old
      one when a stream broke.
    - Where a message of the user was sent, if its turn did not end well: somebody may come back with it. A message is
      known as the object that it is, or by its id within its LangGraph thread.
    - The session of a LangGraph thread, and the answers of a session by id.

    Nothing of it goes into a pickle: elsewhere, it may be out of date.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._made: Backend | None = None
        self._recent: OrderedDict[str, ChatSession] = OrderedDict()
        self._unfinished: OrderedDict[object, tuple[str, weakref.ref[BaseMessage]]] = OrderedDict()
        self._threads: OrderedDict[str, str] = OrderedDict()
        self._answers: OrderedDict[str, list[str]] = OrderedDict()

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
        if session.id is not None:
            with self._guard:
                _put(self._recent, session.id, session)

    def where_sent(self, message: BaseMessage, thread_id: str | None) -> str | None:
        """Return the session that a message was sent to by a turn that did not end well."""
        with self._guard:
            for key in _keys(message, thread_id):
                found = self._unfinished.get(key)
                if found is not None and (key != id(message) or found[1]() is message):
                    return found[0]
        return None

    def of_thread(self, thread_id: str | None) -> str | None:
        """Return the session of the last turn of a LangGraph thread."""
        with self._guard:
            return None if thread_id is None else self._threads.get(thread_id)

    def is_earlier(self, session_id: str, answer_id: str | None) -> bool:
        """Whether an answer was given in this session before others that were given here."""
        with self._guard:
            return answer_id in self._answers.get(session_id, [])[:-1]

    def failed(self, messages: Sequence[BaseMessage], thread_id: str | None, session_id: str) -> None:
        """Note that the turn of these messages did not end well, or was left."""
        with self._guard:
            for message in messages:
                for key in _keys(message, thread_id):
                    _put(self._unfinished, key, (session_id, weakref.ref(message)))
            if thread_id is not None:
                _put(self._threads, thread_id, session_id)

    def ended(self, messages: Sequence[BaseMessage], thread_id: str | None, session_id: str, answer_id: str) -> None:
        """Note that the turn of these messages ended well, with this answer."""
        with self._guard:
            for message in messages:
                for key in _keys(message, thread_id):
                    self._unfinished.pop(key, None)
            if thread_id is not None:
                _put(self._threads, thread_id, session_id)
            _put(self._answers, session_id, [*self._answers.get(session_id, []), answer_id][-_RECENT_ANSWERS:])


def _keys(message: BaseMessage, thread_id: str | None) -> list[object]:
    # An id alone is not enough: some front ends count their messages.
    by_id: list[object] = [] if thread_id is None or message.id is None else [(thread_id, message.id)]
    return [id(message), *by_id]


def _put(kept: OrderedDict[Any, _Value], key: object, value: _Value) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > _RECENT:
        kept.popitem(last=False)
