"""Segments of text and reasoning: deltas, then the whole.

An agent may give deltas, whole segments, or both. The store always gets both, in the service's order, so every
`Behaviour` is a filter over the same sequence.
"""

from __future__ import annotations

from chat_sessions.core.events import Event, Text, TextDelta, Thinking, ThinkingDelta
from chat_sessions.server.turns.behaviour import Behaviour

__all__ = ["DELTA_TYPES", "FINAL_TYPES", "Segments", "event_name", "hidden_in_history", "is_live"]

DELTA_TYPES = frozenset(("text_delta", "thinking_delta"))
FINAL_TYPES = frozenset(("text", "thinking"))

_FINAL_OF: dict[type[TextDelta | ThinkingDelta], type[Text | Thinking]] = {TextDelta: Text, ThinkingDelta: Thinking}
_DELTA_OF: dict[type[Text | Thinking], type[TextDelta | ThinkingDelta]] = {Text: TextDelta, Thinking: ThinkingDelta}


class Segments:
    """Completes a turn's events: every segment gets its deltas and, right after them, the whole.

    A segment ends with its own final event, or with an event of any other kind. If the agent gives the final only
    after such an event, it repeats the one already made for it and is left out.
    """

    def __init__(self) -> None:
        self._kind: type[TextDelta | ThinkingDelta] | None = None
        self._parts: list[str] = []
        self._completed: dict[type[TextDelta | ThinkingDelta], str] = {}

    def add(self, event: Event) -> list[Event]:
        """Return the events to store for the agent's next event, in order."""
        if isinstance(event, TextDelta | ThinkingDelta):
            kind = TextDelta if isinstance(event, TextDelta) else ThinkingDelta
            closing = [] if self._kind in (kind, None) else self.close()
            self._kind = kind
            self._parts.append(event.content)
            return [*closing, event]
        if isinstance(event, Text | Thinking):
            delta = _DELTA_OF[type(event)]
            closing = [] if self._kind in (delta, None) else self.close()
            if self._kind is None and self._completed.pop(delta, None) == event.content:
                return closing
            shown = "".join(self._parts)
            self._kind, self._parts = None, []
            # The final continues where the deltas ended: what is missing is shown before it.
            if event.content.startswith(shown) and len(event.content) > len(shown):
                closing.append(delta(content=event.content[len(shown) :]))
            return [*closing, event]
        return [*self.close(), event]

    def close(self) -> list[Event]:
        """Return the whole of the open segment, if there is one, for a turn that ends within it."""
        if self._kind is None:
            return []
        content = "".join(self._parts)
        final = _FINAL_OF[self._kind](content=content)
        self._completed[self._kind] = content
        self._kind, self._parts = None, []
        return [final]


def is_live(event_type: str, behaviour: Behaviour) -> bool:
    """Return whether a stream shows events of this type."""
    if event_type in DELTA_TYPES:
        return behaviour.finals != "only"
    if event_type in FINAL_TYPES:
        return behaviour.finals != "never"
    return event_type != "user_input" or behaviour.echo_user_input


def hidden_in_history(behaviour: Behaviour) -> frozenset[str]:
    """Return the event types that a history leaves out."""
    return {"finals": DELTA_TYPES, "deltas": FINAL_TYPES, "both": frozenset[str]()}[behaviour.history]


def event_name(event_type: str, behaviour: Behaviour) -> str | None:
    """Return the `event:` line of a streamed event, or None for no such line."""
    if behaviour.event_names == "none":
        return None
    if behaviour.event_names == "type":
        return event_type
    return "delta" if event_type in DELTA_TYPES else "message"
