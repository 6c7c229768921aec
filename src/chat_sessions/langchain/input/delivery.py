"""Which of the user's messages a session already has.

Frameworks keep a message whose turn failed or was stopped, and call again: a graph with the next message after it, a
retry with the same one. A prompt is sent once, so the session's history decides what is left to send. No I/O here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from chat_sessions.core.delivery import plain_words
from chat_sessions.core.turn import Turn
from chat_sessions.langchain.input.prompt import Exchange

__all__ = ["Sent", "answered", "sent"]

# How many of the session's last turns are searched.
_MOST_TURNS = 16


@dataclass(frozen=True, slots=True)
class Sent:
    """How many of the messages, from the first, the session has; `position` is the turn of the last of them."""

    count: int = 0
    position: int | None = None


def sent(
    messages: Sequence[str],
    turns: Sequence[Turn],
    *,
    exchanges: Sequence[Exchange],
    images: Sequence[tuple[str, ...]] = (),
    system: str | None = None,
    tried_after: Sequence[int | None] = (),
    unsent: int | None = None,
    later: int = 0,
) -> Sent:
    """Find these consecutive user messages in the last turns of a session.

    `exchanges` are the session's answers that the caller has; only turns after the last of them count. `images` are
    those of each message. `tried_after` has, for each message that was or may have been sent, the number of turns
    before it, or None if unknown. `system` is text that may precede the first message. A session may hold several
    messages as one prompt. Only the first `unsent` messages (all by default), which were not sent as they are, are
    looked for among other words. If the number of earlier turns is unknown, only a turn with at most `later` turns
    after it can be the answer: so many may answer the same messages, asked again.
    """
    counted = [before for before in tried_after if before is not None]
    start = min(counted) if counted else _after(exchanges, turns)
    if start is None:
        if exchanges and not tried_after:
            return Sent()
        start = 0
    best = Sent()
    lasts = range(start, len(turns)) if counted else range(max(0, len(turns) - 1 - later), len(turns))
    for last in lasts:
        for first in range(last, max(start, last - _MOST_TURNS) - 1, -1):
            shown = plain_words("".join(turn.prompt or "" for turn in turns[first : last + 1]))
            pictures = [url for turn in turns[first : last + 1] for url in turn.image_urls]
            for count in range(best.count + 1, len(messages) + 1):
                words = plain_words("".join(messages[:count]))
                if pictures != [url for one in images[:count] for url in one]:
                    continue
                if shown in (words, plain_words(system or "") + words):
                    best = Sent(count, last)
    rewritten = _rewritten(messages[:-1][:unsent], turns[start:], images)
    return max(best, Sent(rewritten, len(turns) - 1), key=lambda found: found.count)


def _rewritten(messages: Sequence[str], turns: Sequence[Turn], images: Sequence[tuple[str, ...]]) -> int:
    """Return how many of these messages the last turns hold, one in each, among other words.

    A middleware adds to the user's last words, and its addition is not in the messages of the next call. So the last
    message of a call is not among these: nothing new stays unsent.
    """
    for count in range(min(len(messages), len(turns)), 0, -1):
        pairs = zip(messages[:count], turns[len(turns) - count :], strict=True)
        if not any(images[:count]) and all(_is_within(words, turn.prompt or "") for words, turn in pairs):
            return count
    return 0


def _is_within(words: str, prompt: str) -> bool:
    """Whether the prompt holds these words, whole ones, in this order."""
    words, prompt = (" ".join(text.split()) for text in (words, prompt))
    return bool(words) and re.search(rf"(?<!\w){re.escape(words)}(?!\w)", prompt) is not None


def answered(count: int, turns: Sequence[Turn], exchanges: Sequence[Exchange]) -> Sent:
    """Return this many messages as sent, in the turn that gave the last of these answers."""
    after = _after(exchanges, turns)
    return Sent() if after is None else Sent(count, after - 1)


def _after(exchanges: Sequence[Exchange], turns: Sequence[Turn]) -> int | None:
    """Return the position after the turn of the last exchange, or None if the turns do not have it.

    Agents repeat themselves ("nothing found"), so equal turns are matched with equal exchanges one by one.
    """
    if not exchanges:
        return None
    asked, answer = plain_words(exchanges[-1].asked), plain_words(exchanges[-1].answer)
    alike = [position for position, turn in enumerate(turns) if plain_words(turn.text) == answer]
    # A graph may have rewritten the user's words.
    same = [position for position in alike if plain_words(turns[position].prompt or "").endswith(asked)]
    if not alike:
        return None
    count = sum(
        plain_words(each.answer) == answer and (not same or plain_words(each.asked) == asked) for each in exchanges
    )
    alike = same or alike
    return alike[min(count, len(alike)) - 1] + 1
