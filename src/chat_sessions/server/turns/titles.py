"""The title of a session, made from its first message."""

from __future__ import annotations

import re

__all__ = ["title_of"]

_LONGEST = 60
_SENTENCE_END = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s")


def title_of(message: str) -> str:
    """Return the first sentence of a message in at most 60 characters, cut between words; never empty."""
    words = "".join(character if character.isprintable() else " " for character in message).split()
    sentence = _SENTENCE_END.split(" ".join(words), maxsplit=1)[0].rstrip(" .")
    if not sentence:
        return "New chat"
    if len(sentence) > _LONGEST:
        head = sentence[: _LONGEST - 1]
        # A single long word, or a script without spaces, has no gap to cut at.
        cut = head.rfind(" ") if sentence[_LONGEST - 1] != " " else len(head)
        sentence = (head[:cut] if cut > _LONGEST // 2 else head).rstrip(" ,;:.") + "…"
    return sentence[0].upper() + sentence[1:]
