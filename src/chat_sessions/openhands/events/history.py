"""A stored conversation as the events of a session: turn after turn, each with its stop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chat_sessions.core.events import Event, UnknownEvent
from chat_sessions.core.models import JobMetadata, SessionSummary
from chat_sessions.openhands.events.json_values import JsonObject, as_object, as_text
from chat_sessions.openhands.events.mapping import events_of, is_user_message
from chat_sessions.openhands.events.turn_facts import ENDED, TurnFacts

__all__ = ["branch_of", "history_of", "is_settled", "summary_of"]


# What a model is shown of a conversation. Other events are attached to the branch, not part of it.
_SAID = frozenset(("MessageEvent", "ActionEvent", "ObservationEvent", "AgentErrorEvent", "UserRejectObservation"))


def branch_of(items: Sequence[JsonObject], info: JsonObject) -> Sequence[JsonObject]:
    """Return the events of the branch that the conversation is on: what its agent sees.

    A conversation that was navigated back has several branches in its events, one after the other; each event
    names the one before it, and the conversation its last. Servers without branches name neither.
    """
    by_id = {as_text(item.get("id")): item for item in items}
    path: set[str] = set()
    if info.get("leaf_event_id", "") is None and any(item.get("parent_id") for item in items):
        # It was navigated to before its first event.
        return ()
    one = as_text(info.get("leaf_event_id"))
    while one in by_id and one not in path:
        path.add(one)
        one = as_text(by_id[one].get("parent_id"))
    if not path or all(item.get("kind") not in _SAID or as_text(item.get("id")) in path for item in items):
        return items
    first = next((place for place, item in enumerate(items) if as_text(item.get("id")) in path), 0)
    kept: list[JsonObject] = []
    for place, item in enumerate(items):
        event_id = as_text(item.get("id"))
        is_beside = item.get("kind") not in _SAID and as_text(item.get("parent_id")) in path
        # Events older than the server's branches have no parents; the path begins after them.
        if event_id in path or is_beside or (place < first and not item.get("parent_id")):
            path.add(event_id)
            kept.append(item)
    return kept


def history_of(items: Iterable[JsonObject], info: JsonObject) -> list[Event]:
    """The session's events, in their order.

    `items` are the conversation's events, `info` the conversation, read after them. A message that was sent during a
    run begins a turn here, where the server lets it join that run.
    """
    events: list[Event] = []
    early: list[Event] = []
    turn: TurnFacts | None = None
    for item in _once(items):
        if is_user_message(item):
            if turn is not None:
                events.append(turn.stop(info))
            turn = TurnFacts()
            # What has no counterpart and came before the first message would make a turn of its own.
            events += [*turn.read(item), *early]
            early.clear()
        elif turn is not None:
            events += turn.read(item)
        else:
            for event in events_of(item):
                (early if isinstance(event, UnknownEvent) else events).append(event)
    status = as_text(info.get("execution_status"))
    # A copy that ends with an answer has never run: no event and no status says that this turn is over.
    is_copied = turn is not None and turn.is_answered and status == "idle"
    if turn is not None and (turn.has_ended or status in ENDED or is_copied):
        events.append(turn.stop(info, status))
    return events


def is_settled(items: Iterable[JsonObject], info: JsonObject) -> bool:
    """Whether `items` hold the end of the last run, if `info` says that it has ended.

    A run may end between the two requests; then read the events again.
    """
    if as_text(info.get("execution_status")) not in ENDED:
        return True
    turn = TurnFacts()
    for item in items:
        if is_user_message(item):
            turn = TurnFacts()
        turn.read(item)
    return turn.has_ended


def _once(items: Iterable[JsonObject]) -> Iterable[JsonObject]:
    seen: set[str] = set()
    for item in items:
        event_id = as_text(item.get("id"))
        if event_id and event_id in seen:
            continue
        seen.add(event_id)
        yield item


def summary_of(info: JsonObject) -> SessionSummary:
    """The conversation as a session's summary; `execution_status` and `tags` are kept as fields of their own.

    Its usage is that of all its turns, titles and side questions included. Raises `ValidationError` if it is not a
    conversation.
    """
    status = as_text(info.get("execution_status"))
    return SessionSummary.model_validate(
        {
            "session_id": info.get("id"),
            "last_updated_at": info.get("updated_at") or info.get("created_at"),
            "generated_title": info.get("title"),
            "job_metadata": _usage(info, status),
            "execution_status": status,
            "tags": as_object(info.get("tags")),
        }
    )


def _usage(info: JsonObject, status: str) -> JobMetadata:
    by_usage = as_object(as_object(info.get("stats")).get("usage_to_metrics"))
    spent = [as_object(as_object(metrics).get("accumulated_token_usage")) for metrics in by_usage.values()]
    totals = {
        name: sum(value for item in spent if isinstance(value := item.get(f"{name}_tokens"), int))
        for name in ("prompt", "completion", "cache_read", "cache_write", "reasoning")
    }
    costs = [as_object(metrics).get("accumulated_cost") for metrics in by_usage.values()]
    cost = sum(value for value in costs if isinstance(value, int | float))
    return JobMetadata(
        input_tokens=totals["prompt"],
        output_tokens=totals["completion"],
        turns=None,
        duration_ms=None,
        cache_read_tokens=totals["cache_read"],
        cache_write_tokens=totals["cache_write"],
        reasoning_tokens=totals["reasoning"],
        # The server writes 0 for a model whose prices it does not know.
        cost=cost or None,
        is_error=status in ("error", "stuck"),
    )
