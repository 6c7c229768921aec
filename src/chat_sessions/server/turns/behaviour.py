"""A switch of the local server for each thing that is not known about the live service."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args, get_origin, get_type_hints

from chat_sessions.core.errors import ConfigurationError

__all__ = ["Behaviour"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How the server behaves where the service's documents say nothing, or allow several readings.

    The defaults are the likeliest reading. Raises `ConfigurationError` for a value that is not listed.
    """

    event_names: Literal["kind", "type", "none"] = "kind"
    """The `event:` line of a streamed event: with "kind" it is `delta` for the two delta types and `message` for all
    others, as in the official guide; with "type" it repeats the event's own type; with "none" there is no such line."""

    event_ids: bool = False
    """Whether streamed events have an `id:` line, `<turn>-<number>`, unique in the store."""

    keep_alive: float | None = 15.0
    """Seconds between keep-alive comments in a stream that is waiting for events; None for no comments."""

    echo_user_input: bool = False
    """Whether a stream begins with the `user_input` event that it answers."""

    finals: Literal["after_deltas", "only", "never"] = "after_deltas"
    """What a stream contains of a segment of text or reasoning: its deltas followed by the whole, the whole alone, or
    the deltas alone."""

    history: Literal["finals", "deltas", "both"] = "finals"
    """What a session's history contains of a segment of text or reasoning. This is only about what is shown: the store
    keeps both."""

    history_timing: Literal["live", "after_stop"] = "live"
    """When a turn's events appear in the history: as they happen, `user_input` first, or all at once when the turn
    has ended."""

    on_disconnect: Literal["finish", "cancel"] = "finish"
    """What happens to a turn whose client disconnects: it continues to its end, or it is cancelled and stored with an
    error stop."""

    concurrent_turns: Literal["conflict", "queue", "parallel"] = "conflict"
    """What happens to a second message while its session answers the first: it is refused with 409, its turn follows
    the first one (the response begins only then), or it is answered at the same time."""

    sources: Literal["locked", "free"] = "locked"
    """Whether the first message fixes a session's indexes, and a later one with others is refused with 422, or each
    message may name its own."""

    attachment_slash: Literal["both", "slash", "encoded"] = "both"
    """How the `/` in an attachment's name may be written in a path: either way, only literally, or only as `%2F`. The
    other form is a 404."""

    automatic_title: bool = True
    """Whether a session automatically gets a title from its first message."""

    title_route: Literal["present", "gone"] = "present"
    """Whether `POST /api/v1/chat/{session_id}/title` exists. The published API dropped it in May 2026."""

    title_status: Literal[404, 405] = 404
    """The status of a title route that is gone."""

    default_shared_access: Literal["query", "read_only"] | None = "read_only"
    """The `shared_access` of a session that was created without one. The published schema requires one of the two;
    None is sent as null, which a client that validates answers refuses."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            allowed = _allowed(hints[field.name])
            value = getattr(self, field.name)
            # The types must match too: `True == 1`.
            if allowed and not any(value == option and type(value) is type(option) for option in allowed):
                listed = ", ".join(repr(option) for option in allowed)
                raise ConfigurationError(f"Behaviour({field.name}={value!r}): use one of {listed}")
        if self.keep_alive is not None and not self.keep_alive > 0:
            raise ConfigurationError(
                f"Behaviour(keep_alive={self.keep_alive!r}): use seconds above 0, or None for no keep-alives"
            )


def _allowed(hint: object) -> tuple[object, ...]:
    """Return the values that a field may have, or nothing if any value of its type will do."""
    if hint is bool:
        return (True, False)
    if get_origin(hint) is Literal:
        return get_args(hint)
    members = get_args(hint)
    if any(get_origin(member) is Literal for member in members):
        return tuple(
            value for member in members for value in (get_args(member) if get_origin(member) is Literal else (None,))
        )
    return ()
