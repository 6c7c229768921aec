"""What this process knows of a session: how many turns it holds, its indexes, and which turn was left running.

The count tells a new turn from an older one with the same words when a broken stream is looked up. All holders of a
session in this process share it, whichever client or adapter they hold it through, as long as one of them lives. A
client keeps the counts of its last sessions, so that a session that is opened anew for each turn, as in a web
application, is counted once.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import OrderedDict
from contextlib import suppress

from chat_sessions.core.delivery import Ended
from chat_sessions.session.waiting import renew_at_fork

__all__ = ["TurnCount"]

_guard = threading.RLock()
renew_at_fork(sys.modules[__name__], "_guard")
_counts: weakref.WeakValueDictionary[tuple[str, ...], TurnCount] = weakref.WeakValueDictionary()
_kept: weakref.WeakKeyDictionary[object, OrderedDict[tuple[str, ...], TurnCount]] = weakref.WeakKeyDictionary()
# How many sessions' counts a client keeps.
_MOST_KEPT = 1000


class TurnCount:
    """The count of one session's turns, made by `of`."""

    def __init__(self) -> None:
        # The session's own, which are locked once it has a turn.
        self.index_ids: tuple[str, ...] | None = None
        # The turn that was left before its end and may still run, in words; None if there is none.
        self.left: str | None = None
        # The last turn of ours, if it was counted here and not read from the session.
        self.last: Ended | None = None
        # Whether the count was taken when it could not miss a turn of ours: at creation, or right before a turn.
        self.has_baseline = False
        # Whether the history could not be read before a turn: it is not tried again.
        self.is_unreadable = False
        self._value: int | None = None
        self._in_doubt = False
        self._has_ended_since = False
        self._changes = 0
        self._is_running = False

    def __reduce__(self) -> tuple[type[TurnCount], tuple[()]]:
        # What this process counted may be wrong in another process, or later.
        return TurnCount, ()

    @classmethod
    def of(cls, key: tuple[str, ...], keeper: object = None) -> TurnCount:
        """Return the one count of the session with this key; `keeper`, a client, keeps it."""
        with _guard:
            found = _counts.get(key)
            if found is None:
                found = _counts[key] = cls()
            # Clients of other backends may have no hash, or no weak references.
            with suppress(TypeError):
                kept = _kept.setdefault(keeper, OrderedDict())
                kept[key] = found
                kept.move_to_end(key)
                if len(kept) > _MOST_KEPT:
                    kept.popitem(last=False)
            return found

    @property
    def value(self) -> int | None:
        """How many turns with a prompt there are; None if that is not known."""
        return self._value

    @property
    def in_doubt(self) -> bool:
        """Whether the session may hold more turns, of prompts that may or may not have landed."""
        return self._in_doubt

    def created(self) -> None:
        """Record that the session was just created."""
        self._value, self.has_baseline, self.last = 0, True, None

    def went_back(self) -> None:
        """Forget what was counted and left: the session has gone back to an earlier turn."""
        self._changes += 1
        self._value, self.has_baseline, self.is_unreadable = None, False, False
        self._in_doubt, self.left, self.last = False, None, None

    def baseline(self, turns: int) -> int:
        """Record how many turns the session held when it was read right before a turn; return the count.

        A smaller number than was known comes from a service that shows turns late.
        """
        self._count(turns)
        self.has_baseline = True
        return self._value or 0

    def _count(self, turns: int) -> None:
        if self._value is None or turns > self._value:
            self._value, self.last = turns, None

    def begin(self) -> int | None:
        """Record that a turn is starting; return the count before it."""
        self._changes += 1
        self._is_running = True
        return self._value

    def end(self, landed: bool | None, left: str | None = None, last: Ended | None = None) -> None:
        """Record that the turn is over. `landed` is None if it is unknown whether the session holds it.

        `left` describes the turn if it was left before its end; `last` are its words if it was read to its end.
        """
        self._changes += 1
        self._is_running = False
        if landed is not False:
            self.left = left
        if landed is None:
            self._in_doubt, self._has_ended_since = True, False
        elif landed:
            self._has_ended_since = True
            if self._value is not None:
                self._value += 1
            self.last = last

    def reading(self) -> int:
        """Record that the session is about to be read; pass the result to `read`."""
        return self._changes

    def read(self, reading: int, turns: int) -> None:
        """Record how many turns the session held, unless a turn began or ended here since `reading`.

        A service may show a turn only after it has ended. So a smaller number is ignored, and an equal one does
        not prove that a prompt did not land, unless a later one has.
        """
        if reading == self._changes and not self._is_running:
            known = self._value
            self._count(turns)
            if self._has_ended_since or known is None or turns > known:
                self._in_doubt = False
