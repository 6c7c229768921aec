"""How many turns a session holds, as far as this process knows.

The count tells a new turn from an older one of the same words when a broken stream is looked up.
All holders of a session in this process share it, whichever client or adapter they hold it through,
as long as one of them lives; nobody counts for a session that nobody holds.
"""

from __future__ import annotations

import threading
import weakref

__all__ = ["TurnCount"]

_guard = threading.Lock()
_counts: weakref.WeakValueDictionary[tuple[str, ...], TurnCount] = weakref.WeakValueDictionary()


class TurnCount:
    """The count of one session; None where it is not known. `of` gives it."""

    def __init__(self) -> None:
        self._value: int | None = None
        self._in_doubt = False
        self._has_ended_since = False
        self._changes = 0
        self._is_running = False

    def __reduce__(self) -> tuple[type[TurnCount], tuple[()]]:
        # What this process counted is no news in another, or at another time.
        return TurnCount, ()

    @classmethod
    def of(cls, key: tuple[str, ...]) -> TurnCount:
        """The one count of the session with this key."""
        with _guard:
            found = _counts.get(key)
            if found is None:
                found = _counts[key] = cls()
            return found

    @property
    def value(self) -> int | None:
        """How many turns there are; None where that is not known."""
        return self._value

    @property
    def in_doubt(self) -> bool:
        """Whether the session may hold turns of ours besides: prompts of which nobody knows whether they landed."""
        return self._in_doubt

    def created(self) -> None:
        """The session has been created just now."""
        self._value = 0

    def begin(self) -> int | None:
        """A turn is about to be posted, in its own time; gives back how many there are before it."""
        self._changes += 1
        self._is_running = True
        return self._value

    def end(self, landed: bool | None) -> None:
        """That turn is over. `landed` is None where nobody can tell whether the session holds it."""
        self._changes += 1
        self._is_running = False
        if landed is None:
            self._in_doubt, self._has_ended_since = True, False
        elif landed:
            self._has_ended_since = True
            if self._value is not None:
                self._value += 1

    def reading(self) -> int:
        """The session is about to be read; give what comes back to `read`."""
        return self._changes

    def read(self, reading: int, turns: int) -> None:
        """The session held so many turns. That counts only if no turn of ours began or ended meanwhile.

        A service may show a turn only when it has ended. So fewer turns than were known do not count, and no
        more than were known do not say that a prompt has not landed, unless a later one has.
        """
        if reading == self._changes and not self._is_running:
            known, self._value = self._value, turns if self._value is None else max(turns, self._value)
            if self._has_ended_since or known is None or turns > known:
                self._in_doubt = False
