"""Decides what happened to a turn whose stream broke.

Three things are known: what the session held before (perhaps), the prompt with what the stream brought before it broke,
and what the session shows now. There is nothing else: the API has no idempotency key and cannot resume a stream.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import unescape
from typing import Literal, TypeAlias

from chat_sessions.core.alignment import align
from chat_sessions.core.events import Event
from chat_sessions.core.gaps import has_gap
from chat_sessions.core.turn import Turn, replay

__all__ = ["Delivery", "Ended", "Outcome", "asked", "decide", "find_again", "plain_words"]

# How many times words are unescaped, in case they were escaped more than once.
_MOST_ESCAPES = 4
# Words that were escaped many times, in one step: "&amp;amp;".
_AMPERSANDS = re.compile(r"&(?:amp;)+")

# Control and format characters, such as a byte order mark or a soft hyphen.
_UNSEEN = ("Cc", "Cf")

Outcome: TypeAlias = Literal["finished", "running", "not_shown", "unknown"]


@dataclass(frozen=True, slots=True)
class Ended:
    """The words of a turn that ended: its prompt and its answer."""

    prompt: str
    text: str


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
    last: Ended | None = None,
    in_doubt: bool = False,
    position: int | None = None,
) -> Delivery:
    """Find the turn of `live.prompt` in the history of its session, read after the stream broke.

    `live` is the turn as the broken stream left it. `turns_before` is how many turns with a prompt the session
    held when this one was sent, None if that is unknown; `last` is the last of them, if it was read to its end
    after the session was counted; `in_doubt` says that there may be more, because an earlier prompt may have
    landed; `position` is where an earlier look found the turn.
    An older turn with the same words is never taken for this one: if the count cannot tell them
    apart, the answer must.
    """
    turns = replay(history)
    if position is not None:
        again = find_again(live, turns, position)
        if len(again) == 1:
            return _found(again[0], turns[again[0]])
        # Of several, this one may have been found before another was shown in its place.
        return Delivery("unknown" if again else "not_shown")
    shown = [(position, turns[position]) for position in asked(turns)]
    new = shown if turns_before is None else shown[_past(last, [turn for _, turn in shown], turns_before) :]
    fitting = [(position, turn) for position, turn in new if _may_be(live, turn)]
    proved = [(position, turn) for position, turn in fitting if _is_proof(live, turn)]
    if turns_before is None:
        # Without a count only the last turn can be this one: turns come one after the other.
        at_end = [found for found in fitting if found == shown[-1]]
        # An unanswered prompt at the end is the one just sent; an answered one may be an earlier one.
        candidates = [
            found
            for found in at_end
            if _is_prompt(live, found[1]) and (found in proved or not (in_doubt or found[1].is_complete))
        ]
        if not candidates:
            return Delivery("unknown" if at_end else "not_shown")
    else:
        candidates = proved or fitting
        if not candidates:
            # A turn that does not match may still be this one, with its words changed; and a history without any
            # prompt does not show this one's either.
            return Delivery("unknown" if new or (turns and not shown) else "not_shown")
        if len(candidates) > 1 or (not proved and (in_doubt or len(new) > 1)):
            # Someone else writes to this session too, or an earlier prompt landed after all.
            return Delivery("unknown")
    return _found(*candidates[-1])


def find_again(live: Turn, turns: Sequence[Turn], position: int) -> Sequence[int]:
    """Return the positions at which a turn that an earlier look found at `position` may be now.

    A look at a lagging replica may have missed other writers' earlier turns, so the turn may now come later.
    """
    places = [at for at in range(position, len(turns)) if _may_be(live, turns[at])]
    if (proved := next((at for at in places if _is_proof(live, turns[at])), None)) is not None:
        return [proved]
    if position in places:
        return places
    # With another answer to the same prompt, the service may have corrected its words since.
    return [position] if position < len(turns) and _is_prompt(live, turns[position]) else []


def asked(turns: Sequence[Turn]) -> list[int]:
    """Return the positions of the turns that answer a prompt, which are those that count.

    A history may begin with a greeting or an unknown event, and show a late event after a turn's end.
    """
    return [position for position, turn in enumerate(turns) if turn.prompt is not None]


def _past(last: Ended | None, shown: Sequence[Turn], count: int) -> int:
    """Return how many of the turns shown precede the new one, as far as is known; `count` is how many were counted.

    The count is too low if the service shows one of our turns as two, or if someone else had a turn since the session
    was counted. In both cases our last turn comes later than the count says.
    """
    if last is not None:
        words = (plain_words(last.prompt), plain_words(last.text))
        for position in range(max(0, count - 1), len(shown)):
            turn = shown[position]
            if (plain_words(turn.prompt or ""), plain_words(turn.text)) == words:
                return position + 1
    return count


def _found(position: int, mine: Turn) -> Delivery:
    return Delivery("finished" if mine.is_complete else "running", position, mine)


def _is_prompt(live: Turn, stored: Turn) -> bool:
    """Whether both answer the same prompt. The same words about another image are another question."""
    if stored.prompt is None or live.image_urls != stored.image_urls:
        return False
    return plain_words(live.prompt or "") == plain_words(stored.prompt)


def _has_no_words(stored: Turn, image_urls: tuple[str, ...]) -> bool:
    """Whether its prompt has these images but no words, like one that cannot be read: only the answer can tell."""
    return stored.prompt is not None and stored.image_urls == image_urls and not plain_words(stored.prompt)


def _may_be(live: Turn, stored: Turn) -> bool:
    """Whether one of the two can be the beginning of the other."""
    if not _is_prompt(live, stored) and not (_has_no_words(stored, live.image_urls) and _is_proof(live, stored)):
        return False
    if not align(live.events, stored.events).is_consistent:
        return False
    calls = {run.call_id for run in stored.tool_runs}
    # A history that holds no tools at all says nothing about those that were seen.
    return not calls or not stored.is_complete or all(run.call_id in calls for run in live.tool_runs)


def _is_proof(live: Turn, stored: Turn) -> bool:
    """Whether a matching turn holds something that an earlier one with the same prompt would not.

    Call ids are unique, and the words of an answer are good evidence if all of them could be read. Reasoning is not:
    agents often start to reason about the same question in the same words.
    """
    calls = {run.call_id for run in stored.tool_runs}
    if live.tool_runs and calls:
        return any(run.call_id in calls for run in live.tool_runs)
    if has_gap(live.events) or has_gap(stored.events):
        return False
    return bool(plain_words(live.text)) and bool(plain_words(stored.text))


def plain_words(words: str) -> str:
    """Return the words without what services change in them.

    That is white space, line ends, characters that are not seen, the Unicode form and HTML escapes.
    """
    words = unicodedata.normalize("NFKC", words)
    for _ in range(_MOST_ESCAPES):
        plain = _unescaped(_AMPERSANDS.sub("&", words))
        if plain == words:
            break
        words = unicodedata.normalize("NFKC", plain)
    # NFKC may add white space.
    words = "".join(words.split())
    if words.isprintable():
        return words
    return "".join(character for character in words if unicodedata.category(character) not in _UNSEEN)


def _unescaped(words: str) -> str:
    try:
        return unescape(words)
    except ValueError:
        # The number has more digits than Python converts.
        return words
