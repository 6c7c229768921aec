"""Decides what happened to a turn whose stream broke.

Three things are known: what the session held before (perhaps), the prompt with what the stream brought before it broke,
and what the session shows now. There is nothing else: the API has no idempotency key and cannot resume a stream.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import unescape
from typing import Literal, TypeAlias

from chat_sessions.core.alignment import align
from chat_sessions.core.events import Event
from chat_sessions.core.turn import Turn, replay

__all__ = ["Delivery", "Outcome", "decide", "plain_words"]

Outcome: TypeAlias = Literal["finished", "running", "not_shown", "unknown"]


@dataclass(frozen=True)
class Delivery:
    """What the session shows of a prompt.

    "finished": it landed and its turn has ended; "running": it landed and the turn has not ended;
    "not_shown": the session does not show it (yet); "unknown": the session shows turns that may or
    may not be this one. For the first two, `turn` is the turn as the session shows it, at this `position` among the
    session's turns.
    """

    outcome: Outcome
    position: int | None = None
    turn: Turn | None = field(default=None, compare=False, repr=False)


def decide(
    *,
    live: Turn,
    history: Sequence[Event],
    turns_before: int | None = None,
    in_doubt: bool = False,
    position: int | None = None,
) -> Delivery:
    """Find the turn of `live.prompt` in the history of its session, read after the stream broke.

    `live` is the turn as the broken stream left it. `turns_before` is how many turns the session
    held when the prompt was sent, None if that is unknown; `in_doubt` says that it may have held more,
    because an earlier prompt may have landed; `position` is where an earlier look found the turn.
    An older turn with the same words is never taken for this one: if the count cannot tell them
    apart, the answer must.
    """
    turns = list(enumerate(replay(history)))
    if position is not None and position < len(turns):
        return _found(*turns[position])
    new = turns if turns_before is None else turns[turns_before:]
    fitting = [(position, turn) for position, turn in new if _may_be(live, turn)]
    proved = [(position, turn) for position, turn in fitting if _is_proof(live, turn)]
    if turns_before is None:
        # Without a count only the last turn can be this one: turns come one after the other.
        last = [found for found in fitting if found[0] == len(turns) - 1]
        # An unanswered prompt at the end is the one just sent; an answered one may be an earlier one.
        candidates = [found for found in last if found in proved or not (in_doubt or found[1].is_complete)]
        if not candidates:
            return Delivery("unknown" if last else "not_shown")
    else:
        candidates = proved or fitting
        if not candidates:
            # A turn that does not match may still be this one, with its words changed.
            return Delivery("unknown" if new else "not_shown")
        if len(candidates) > 1 or (not proved and (in_doubt or len(new) > 1)):
            # Someone else writes to this session too, or an earlier prompt landed after all.
            return Delivery("unknown")
    return _found(*candidates[-1])


def _found(position: int, mine: Turn) -> Delivery:
    return Delivery("finished" if mine.is_complete else "running", position, mine)


def _may_be(live: Turn, stored: Turn) -> bool:
    """Whether one of the two can be the beginning of the other."""
    if stored.prompt is None or plain_words(live.prompt or "") != plain_words(stored.prompt):
        return False
    if live.image_urls != stored.image_urls:
        # The same words about another image are another question.
        return False
    if not align(live.events, stored.events).is_consistent:
        return False
    calls = {run.call_id for run in stored.tool_runs}
    # A history that holds no tools at all says nothing about those that were seen.
    return not calls or not stored.is_complete or all(run.call_id in calls for run in live.tool_runs)


def _is_proof(live: Turn, stored: Turn) -> bool:
    """Whether a matching turn holds something that an earlier one with the same prompt would not.

    Call ids are unique, and the words of an answer are good evidence. Reasoning is not: agents
    begin to think about the same question in the same way.
    """
    calls = {run.call_id for run in stored.tool_runs}
    if live.tool_runs and calls:
        return any(run.call_id in calls for run in live.tool_runs)
    return bool(plain_words(live.text)) and bool(plain_words(stored.text))


def plain_words(words: str) -> str:
    """Return the words without what services change in them: white space, line ends, Unicode form, HTML escapes."""
    while (plain := unescape(words)) != words:
        words = plain
    # NFKC may add white space.
    return "".join(unicodedata.normalize("NFKC", words).split())
