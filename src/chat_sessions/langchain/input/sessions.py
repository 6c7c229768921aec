"""What a model remembers of the sessions that its turns ran in."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Any, NamedTuple, TypeVar, cast
from uuid import UUID

from langchain_core.messages import BaseMessage

from chat_sessions.langchain.input.default_client import client_or_default
from chat_sessions.langchain.input.images import is_image
from chat_sessions.session import Backend, ChatSession
from chat_sessions.session.waiting import renew_at_fork

__all__ = ["Ask", "Place", "Record", "Sessions"]

_RECENT = 256
_RECENT_ANSWERS = 64
_RECENT_MESSAGES = 4096

_Value = TypeVar("_Value")


class Place(NamedTuple):
    """Where in a program a call is made. The same message from another place is another question.

    `node` is the path to the node of a LangGraph graph; `task` is one run of that node, which a retry and a resumed
    interrupt share. Both are empty outside of graphs. `run` is the run that the call is a part of: a node's, which is
    another one for each retry and resume, or that of a chain in the node.
    """

    thread_id: str | None = None
    node: str = ""
    task: str = ""
    index_ids: tuple[str, ...] | None = None
    run: UUID | None = None

    def key(self, message: BaseMessage) -> object:
        """Return a message's key within a LangGraph thread; without a thread or an id, within one run of a node.

        None outside of graphs. An id alone is not enough: some front ends count their messages.
        """
        if self.knows(message):
            return (self.thread_id, self.node, self.index_ids, message.id)
        return (self.task, self.index_ids, message.id, str(message.text)) if self.task else None

    def knows(self, message: BaseMessage) -> bool:
        """Whether the message is the same one wherever it comes again in its LangGraph thread."""
        return self.thread_id is not None and message.id is not None

    def remembers(self, message: BaseMessage) -> bool:
        """Whether the task gets the message's answers again when its node runs again."""
        return bool(self.task) and message.id is not None


class Record(NamedTuple):
    """Where a message was sent, by which task, after how many turns of the session, and whether the answer came.

    `may_have_landed` is False for a message that the service refused. `words` stands for those of the message.
    """

    session_id: str
    task: str
    turns_before: int | None
    may_have_landed: bool
    is_answered: bool
    words: int = 0

    def is_rewritten(self, message: BaseMessage) -> bool:
        """Whether the message may have been sent in other words, as by a middleware that keeps its id."""
        return self.may_have_landed and self.words != _words(message)


@dataclass(slots=True)
class Ask:
    """One ask of a message; its run of the node had `number` others with the same words that did not fail."""

    number: int = 0
    begun: set[int] = field(default_factory=set[int])


@dataclass(slots=True)
class _Asks:
    """A task's asks of the same words: their records, and by run the numbers of those that did not fail."""

    records: dict[int, Record] = field(default_factory=dict[int, Record])
    begun: OrderedDict[UUID, set[int]] = field(default_factory=OrderedDict[UUID, set[int]])


class Sessions:
    """The recent sessions of a model and its copies, and the client that they made if they were given none.

    - The session objects by id: what they know of indexes and turns saves requests, and distinguishes a new turn from
      an old one after a broken stream.
    - Where a user's message was sent last, by its id within a LangGraph thread: a graph repeats it if its turn failed
      or its answer was lost. While it has no answer, also by the identity of the object, and by its words within the
      run of a node.
    - Each ask of the same words by a task: when the node runs again, the second one gets the second answer.
    - The session of a LangGraph thread, and the ids of a session's answers.

    None of this is pickled, because it may be out of date in another process.
    """

    def __init__(self) -> None:
        self._guard = threading.RLock()
        renew_at_fork(self, "_guard")
        self._made: Backend | None = None
        self._recent: OrderedDict[str, ChatSession] = OrderedDict()
        self._sent: OrderedDict[object, Record] = OrderedDict()
        self._asks: OrderedDict[object, _Asks] = OrderedDict()
        self._unanswered: OrderedDict[object, tuple[Record, weakref.ref[BaseMessage]]] = OrderedDict()
        self._threads: OrderedDict[object, str] = OrderedDict()
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
        """Return the session of this id if it is recent and of this client: a copy of the model may have another."""
        with self._guard:
            session = self._recent.get(session_id)
        return session if session is not None and session.client is client else None

    def keep(self, session: ChatSession) -> None:
        """Keep a session that a turn is about to run in."""
        if session.id is not None:
            with self._guard:
                _put(self._recent, session.id, session)

    def begin(self, ask: Ask, message: BaseMessage, place: Place, session_id: str | None) -> None:
        """Number an ask of this message, which may be the repetition of an earlier one in this session, if given.

        The nth ask of a run repeats the nth of the runs before it. One that failed is free for the next.
        """
        key, words = place.key(message), _words(message)
        if key is None:
            return
        with self._guard:
            asks = self._asks.get((key, words, place.task))
            if asks is None:
                asks = _Asks(dict(enumerate(self._left_over(key, words, place))))
                _put(self._asks, (key, words, place.task), asks, _RECENT_MESSAGES)
            if place.run is not None and place.remembers(message):
                ask.begun = asks.begun.get(place.run, ask.begun)
                _put(asks.begun, place.run, ask.begun)
            fitting = (
                number
                for number, record in sorted(asks.records.items())
                if number not in ask.begun and session_id in (None, record.session_id)
            )
            used = asks.records.keys() | ask.begun
            ask.number = next(chain(fitting, (number for number in count() if number not in used)))
            ask.begun.add(ask.number)

    def _left_over(self, key: object, words: int, place: Place) -> list[Record]:
        """Return the last task's unanswered asks in these words, which this task takes over."""
        last = self._sent.get(key)
        asks = None if last is None or last.task == place.task else self._asks.get((key, words, last.task))
        return [] if asks is None else [each for _, each in sorted(asks.records.items()) if not each.is_answered]

    def release(self, ask: Ask) -> None:
        """Treat the next ask as a repetition of this one, which failed."""
        with self._guard:
            ask.begun.discard(ask.number)

    def record(self, message: BaseMessage, place: Place, ask: Ask, *, is_last: bool) -> Record | None:
        """Return the record of a message that an earlier call from this place sent, or None.

        A message whose answer came counts if it is not the last of those to send now, or if the same task asks again.
        """
        key, words = place.key(message), _words(message)
        with self._guard:
            unanswered = self._unanswered.get((id(message), place.index_ids))
            mine = self._asks.get((key, words, place.task), _Asks()).records.get(ask.number)
            last = self._sent.get(key)
        if mine is not None:
            return mine
        if ask.number == 0 and unanswered is not None and unanswered[1]() is message:
            return unanswered[0]
        if last is None:
            return None
        if not is_last:
            return None if (last.words, last.task) == (words, place.task) else last
        # Other words are another question, unless they replace those of a message that has no answer.
        return None if last.is_answered or last.words == words else last

    def others(self, message: BaseMessage, place: Place, ask: Ask) -> dict[int, Record]:
        """Return the records of the task's other asks of the same words, by their numbers."""
        with self._guard:
            asks = self._asks.get((place.key(message), _words(message), place.task), _Asks())
            return {number: record for number, record in asks.records.items() if number != ask.number}

    def of_thread(self, place: Place) -> str | None:
        """Return the session of the last turn of this node in its LangGraph thread."""
        with self._guard:
            return None if place.thread_id is None else self._threads.get((place.thread_id, place.node))

    def is_earlier(self, session_id: str, answer_id: str | None) -> bool:
        """Whether this model has later answers of this session than this one."""
        with self._guard:
            return answer_id in self._answers.get(session_id, [])[:-1]

    def note(self, messages: Sequence[BaseMessage], place: Place, ask: Ask, record: Record) -> None:
        """Record what happened to messages that a turn sent."""
        with self._guard:
            for message in messages:
                noted = record._replace(words=_words(message))
                _put(self._unanswered, (id(message), place.index_ids), (noted, weakref.ref(message)))
                if (key := place.key(message)) is not None:
                    _put(self._sent, key, noted, _RECENT_MESSAGES)
                    asks = self._asks.get((key, noted.words, place.task), _Asks())
                    asks.records[ask.number] = noted
                    _put(self._asks, (key, noted.words, place.task), asks, _RECENT_MESSAGES)
            if place.thread_id is not None:
                _put(self._threads, (place.thread_id, place.node), record.session_id)

    def answered(
        self, messages: Sequence[BaseMessage], place: Place, ask: Ask, session_id: str, answer_id: str
    ) -> None:
        """Record that these messages have been answered, now or before."""
        with self._guard:
            for message in messages:
                self._unanswered.pop((id(message), place.index_ids), None)
                key, words = place.key(message), _words(message)
                asks = self._asks.get((key, words, place.task))
                if asks is not None and (mine := asks.records.pop(ask.number, None)) and place.remembers(message):
                    asks.records[ask.number] = mine._replace(task=place.task, is_answered=True)
                last = self._sent.get(key)
                if last is None:
                    continue
                if not place.knows(message):
                    # A node may ask the same words again once they have their answer.
                    del self._sent[key]
                elif message is not messages[-1]:
                    self._sent[key] = last._replace(is_answered=True)
                    if last.task != place.task and (asks := self._asks.get((key, last.words, last.task))) is not None:
                        for number, earlier in asks.records.items():
                            asks.records[number] = earlier._replace(is_answered=True)
                elif last.words == words:
                    self._sent[key] = last._replace(task=place.task, is_answered=True)
            _put(self._answers, session_id, [*self._answers.get(session_id, []), answer_id][-_RECENT_ANSWERS:])


def _words(message: BaseMessage) -> int:
    """Return a hash of a message's text and images: keeping all texts would take too much memory."""
    content = cast("str | list[str | dict[str, Any]]", message.content)
    blocks = () if isinstance(content, str) else content
    return hash(
        (str(message.text), *(repr(block) for block in blocks if not isinstance(block, str) and is_image(block)))
    )


def _put(kept: OrderedDict[Any, _Value], key: object, value: _Value, most: int | None = None) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > (most or _RECENT):
        kept.popitem(last=False)
