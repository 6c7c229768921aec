"""What is not known of the live service, each as a switch of the local one."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args, get_origin, get_type_hints

from chat_sessions.core.errors import ConfigurationError

__all__ = ["Behaviour"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How the server acts where the service's documents say nothing, or more than one thing.

    The defaults are the likeliest reading of the documents. A value that is none of those
    listed is a `ConfigurationError`.
    """

    event_names: Literal["kind", "type", "none"] = "kind"
    """The `event:` line of a streamed event: "kind" writes `delta` for the two delta types and
    `message` for all others, as the official guide has it; "type" repeats the event's own type;
    "none" writes no such line."""

    event_ids: bool = False
    """Whether a streamed event has an `id:` line, `<turn>-<number>`, unique in the store."""

    keep_alive: float | None = 15.0
    """Seconds between keep-alive comments in a stream; None sends none."""

    echo_user_input: bool = False
    """Whether a stream begins with the `user_input` event that it answers."""

    finals: Literal["after_deltas", "only", "never"] = "after_deltas"
    """What a stream holds of a segment of text or reasoning: its deltas and then the whole,
    only the whole, or never the whole."""

    history: Literal["finals", "deltas", "both"] = "finals"
    """What a session's history holds of a segment of text or reasoning. It decides only what is
    shown: the store keeps both."""

    history_timing: Literal["live", "after_stop"] = "live"
    """When a turn's events appear in the history: as they happen, `user_input` first, or all
    at once when the turn has ended."""

    on_disconnect: Literal["finish", "cancel"] = "finish"
    """What becomes of a turn whose client has gone: it runs on to its end, or it is cancelled
    and stored as one that ended with an error."""

    concurrent_turns: Literal["conflict", "queue", "parallel"] = "conflict"
    """What a second message meets while its session answers the first: 409, its turn after the
    first one (the response begins only then), or an answer at the same time."""

    sources: Literal["locked", "free"] = "locked"
    """Whether the first message fixes a session's indexes, so that a later one with others is
    refused with 422, or each message may name its own."""

    attachment_slash: Literal["both", "slash", "encoded"] = "both"
    """How the `/` in an attachment's name may be written in a path: either way, only as it is,
    or only as `%2F`. The other form is a 404."""

    automatic_title: bool = True
    """Whether a session gets its title from its first message by itself."""

    title_route: Literal["present", "gone"] = "present"
    """Whether `POST /api/v1/chat/{session_id}/title` exists; the published API dropped it in
    May 2026."""

    title_status: Literal[404, 405] = 404
    """What a title route that is gone answers."""

    default_shared_access: Literal["query", "read_only"] | None = "read_only"
    """What a session created without `shared_access` shows as its own. The published schema
    requires one of the two; None is null, which a client that checks its answers refuses."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            allowed = _allowed(hints[field.name])
            value = getattr(self, field.name)
            # `True == 1`: the type has to be the same as well.
            if allowed and not any(value == option and type(value) is type(option) for option in allowed):
                listed = ", ".join(repr(option) for option in allowed)
                raise ConfigurationError(f"Behaviour({field.name}={value!r}): use one of {listed}")
        if self.keep_alive is not None and not self.keep_alive > 0:
            raise ConfigurationError(
                f"Behaviour(keep_alive={self.keep_alive!r}): use seconds above 0, or None for no keep-alives"
            )


def _allowed(hint: object) -> tuple[object, ...]:
    """The values that a field may have, or nothing where any value of its type will do."""
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
