"""A turn of a conversation: its events one by one, and its end, which the server does not send as an event."""

from __future__ import annotations

from datetime import datetime

from pydantic import JsonValue

from chat_sessions.core.events import Event, Stop
from chat_sessions.core.models import Usage
from chat_sessions.openhands.events.json_values import JsonObject, as_list, as_object, as_text
from chat_sessions.openhands.events.mapping import FINISH, events_of

__all__ = ["ENDED", "TurnFacts", "status_of", "token_usages"]

# The states of a run that does not continue by itself. "idle" is not one of them: it also comes between a message and
# its run.
ENDED = frozenset(("finished", "error", "stuck", "paused", "waiting_for_confirmation"))


def status_of(event: JsonObject) -> str | None:
    """Return the execution status in this event, or None."""
    if event.get("kind") != "ConversationStateUpdateEvent":
        return None
    if event.get("key") == "execution_status":
        return as_text(event.get("value"))
    if event.get("key") == "full_state":
        return as_text(as_object(event.get("value")).get("execution_status"))
    return None


def token_usages(info: JsonObject) -> list[JsonObject]:
    """Return what each model call of a conversation cost, from `ConversationInfo.stats`.

    If the server's costs can be matched with its calls, each call has its `cost`.
    """
    by_usage = as_object(as_object(info.get("stats")).get("usage_to_metrics"))
    found: list[JsonObject] = []
    for metrics in by_usage.values():
        calls = [as_object(item) for item in as_list(as_object(metrics).get("token_usages"))]
        costs = as_list(as_object(metrics).get("costs"))
        if len(costs) == len(calls):
            # They do not name their calls, and calls without a cost or without tokens have none.
            calls = [{**call, "cost": as_object(cost).get("cost")} for call, cost in zip(calls, costs, strict=True)]
        found += calls
    return found


class TurnFacts:
    """One turn, live or stored. `read` its events in their order; `stop` is its end, and what it cost."""

    def __init__(self) -> None:
        self.status: str | None = None
        self._error: str | None = None
        self._response_ids: set[str] = set()
        self._began: datetime | None = None
        self._ended: datetime | None = None
        self._last_call: str | None = None
        self._is_answered = False
        self._acp_calls: set[str] = set()
        self._unanswered: dict[str, JsonObject] = {}
        # Calls whose result came first, as after a cut on the older socket.
        self._answered_early: set[str] = set()

    @property
    def has_ended(self) -> bool:
        """Whether the run is over, as far as its own events show."""
        return self.status in ENDED or self.status == "rejected"

    @property
    def is_answered(self) -> bool:
        """Whether the agent's last word is one that ends a run: a message, or the finish tool."""
        return self._is_answered

    @property
    def lacks_reason(self) -> bool:
        """Whether the run has failed and nothing has said why."""
        return self.status == "error" and self._error is None

    @property
    def waits_for_confirmation(self) -> bool:
        """Whether the run has stopped for permission to take its next actions."""
        return self.status == "waiting_for_confirmation"

    @property
    def unanswered(self) -> tuple[JsonObject, ...]:
        """The actions without a result, as the server sent them."""
        return tuple(self._unanswered.values())

    def read(self, event: JsonObject) -> list[Event]:
        """Take in one event of the turn, from the user's message on; return it as events of a turn."""
        self._note(event)
        if event.get("kind") == "ACPToolCallEvent":
            # It reports progress by sending the call again, with more of its arguments.
            call_id = as_text(event.get("tool_call_id"))
            if call_id in self._acp_calls and event.get("status") not in ("completed", "failed"):
                return []
            self._acp_calls.add(call_id)
        return events_of(event)

    def _note(self, event: JsonObject) -> None:
        self._began = self._began or _time(event)
        call_id = as_text(event.get("tool_call_id"))
        is_result = event.get("kind") in ("ObservationEvent", "AgentErrorEvent", "UserRejectObservation")
        if is_result and self._unanswered.pop(call_id, None) is None:
            self._answered_early.add(call_id)
        if response_id := as_text(event.get("llm_response_id")):
            self._response_ids.add(response_id)
        match event.get("kind"):
            case "MessageEvent":
                self._is_answered = event.get("source") == "agent"
            case "ObservationEvent":
                self._is_answered = event.get("tool_name") == FINISH
            case "ConversationErrorEvent":
                parts = (as_text(event.get("code")), as_text(event.get("detail")))
                self._error = ": ".join(part for part in parts if part)
            case "ActionEvent":
                self._is_answered = False
                self._last_call = as_text(event.get("tool_name"))
                if call_id in self._answered_early:
                    self._answered_early.discard(call_id)
                else:
                    self._unanswered[call_id] = event
            case "UserRejectObservation" if self.waits_for_confirmation:
                self.status = "rejected"
            case _:
                self._note_status(event)

    def _note_status(self, event: JsonObject) -> None:
        status = status_of(event)
        if status is None or status == "idle":
            # The next message sets a conversation that has ended to idle before it is in the history.
            return
        self.status = status
        # The whole state repeats it, at other times.
        if event.get("key") == "execution_status":
            self._ended = _time(event) if status in ENDED else None

    def stop(self, info: JsonObject | None, status: str | None = None) -> Stop:
        """The end of the turn. `info` is the conversation as it is now, None if it could not be read.

        `status` is the conversation's own, for a turn whose events name none.
        """
        if not self.has_ended and status is not None:
            self.status = status
        error = self._why()
        return Stop(usage=self._usage(info), is_error=error is not None, error=error)

    def _why(self) -> str | None:
        """Why the turn's answer is incomplete; None if it is complete."""
        match self.status:
            case "error":
                return self._error or "the agent server was stopped during the run, or gave no reason"
            case "stuck":
                return self._error or "the server stopped the agent because it was repeating itself"
            case "paused":
                return "the run was interrupted"
            case "waiting_for_confirmation":
                return (
                    f"the agent waits for a confirmation of {self._last_call or 'its next action'}: answer with "
                    "respond_to_confirmation(), or give the client on_confirmation="
                )
            case "rejected":
                return f"the action {self._last_call or ''} was rejected, and the run has not continued".replace(
                    "  ", " "
                )
            case _:
                return None

    def _usage(self, info: JsonObject | None) -> Usage:
        duration: float | None = None
        if self._began is not None and self._ended is not None:
            duration = round((self._ended - self._began).total_seconds() * 1000, 3)
        turns = len(self._response_ids)
        if info is None or "stats" not in info:
            return Usage(turns=turns, duration_ms=duration)
        mine = [item for item in token_usages(info) if item.get("response_id") in self._response_ids]
        if self._response_ids and not mine:
            # An agent that is run over the Agent Client Protocol calls its model itself.
            return Usage(turns=turns, duration_ms=duration)
        return Usage(
            input_tokens=sum(_count(item.get("prompt_tokens")) for item in mine),
            output_tokens=sum(_count(item.get("completion_tokens")) for item in mine),
            turns=turns,
            duration_ms=duration,
            cache_read_tokens=_known_sum(mine, "cache_read_tokens"),
            cache_write_tokens=_known_sum(mine, "cache_write_tokens"),
            reasoning_tokens=_known_sum(mine, "reasoning_tokens"),
            cost=_cost(mine),
        )


def _count(value: JsonValue) -> int:
    return value if isinstance(value, int) else 0


def _known_sum(calls: list[JsonObject], name: str) -> int | None:
    """Return the sum over the calls that report this count; None if none does."""
    counts = [count for call in calls if isinstance(count := call.get(name), int)]
    return sum(counts) if counts else None


def _cost(calls: list[JsonObject]) -> float | None:
    """Return what the calls cost together; None unless it is known for each."""
    costs = [float(cost) for call in calls if isinstance(cost := call.get("cost"), int | float)]
    return sum(costs) if costs and len(costs) == len(calls) else None


def _time(event: JsonObject) -> datetime | None:
    """Return the event's time by the server's clock: local, without a zone, so good for differences only."""
    try:
        return datetime.fromisoformat(as_text(event.get("timestamp"))).replace(tzinfo=None)
    except ValueError:
        return None
