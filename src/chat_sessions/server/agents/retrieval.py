"""Retrieval for a turn: the passages of all its indexes together, and the events that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from chat_sessions.core.events import Event, ToolCall, ToolResult, UserInput
from chat_sessions.core.models import ImageAttachment
from chat_sessions.server.documents.indexes import Hit, Index, rarity_in
from chat_sessions.server.documents.queries import is_follow_up

__all__ = [
    "Retrieved",
    "call_number",
    "citation",
    "earlier_prompt",
    "left_out",
    "plan",
    "read_page",
    "retrieve",
    "retrieve_call",
    "retrieve_result",
]

_SHOWN_FILES = 20


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What a search over several indexes found.

    `weights` is how much each term counts, rarity included. `told` and `missing` are as in `Query`, for all indexes
    together. `waiting` is how many files were still being read.
    """

    hits: Sequence[Hit]
    weights: dict[str, float]
    told: frozenset[str]
    missing: Sequence[str]
    languages: Sequence[str]
    left_out: dict[str, str]
    waiting: int = 0

    def as_result(self) -> dict[str, JsonValue]:
        """Return it as the result of `retrieve`, with the files that could not be read, and how many are not yet."""
        result: dict[str, JsonValue] = {"results": [hit.as_result() for hit in self.hits]}
        if self.left_out:
            shown: list[JsonValue] = [
                {"file_name": name, "reason": reason} for name, reason in list(self.left_out.items())[:_SHOWN_FILES]
            ]
            result["left_out"] = shown
            result["left_out_count"] = len(self.left_out)
        if self.waiting:
            result["still_being_read"] = self.waiting
        return result


def retrieve(indexes: Sequence[Index], prompt: str, earlier: str, limit: int) -> Retrieved:
    """Return the passages that fit a prompt best, of all indexes together."""
    hits: list[Hit] = []
    weights: dict[str, float] = {}
    told: set[str] = set()
    nowhere: set[str] | None = None
    languages: set[str] = set()
    unread: dict[str, str] = {}
    words: Sequence[str] = ()
    # Counted before the search, which may find what is read meanwhile.
    waiting = sum(index.waiting for index in indexes)
    for index in indexes:
        query = index.query(prompt, earlier)
        for term, weight in query.weights.items():
            weights[term] = max(weights.get(term, 0.0), weight * rarity_in(indexes, term))
        told |= query.told
        words = words or query.missing
        nowhere = set(query.missing) if nowhere is None else nowhere.intersection(query.missing)
        languages |= index.languages
        hits += index.search(prompt, earlier=earlier, limit=limit, beside=indexes)
        unread |= left_out([index])
    hits.sort(key=lambda hit: -hit.score)
    return Retrieved(
        hits[:limit],
        weights,
        frozenset(told),
        [word for word in words if word in (nowhere or ())],
        sorted(languages),
        unread,
        waiting,
    )


def citation(hit: Hit) -> str:
    """Return where a passage is: `[report.pdf, page 3]`."""
    where = f"page {hit.passage.page}" if hit.passage.page is not None else hit.passage.section
    return f"[{hit.document.name}, {where}]" if where else f"[{hit.document.name}]"


def plan(indexes: Sequence[Index]) -> str:
    """Say what is searched, and how much of it could not be read."""
    count = sum(index.count for index in indexes)
    unread = sum(len(index.left_out) for index in indexes)
    said = f"I search {count:,} document{'' if count == 1 else 's'} for the words of the question."
    return f"{said} {unread:,} could not be read." if unread else said


def left_out(indexes: Sequence[Index]) -> dict[str, str]:
    """Return the files of indexes that could not be read, each with the reason."""
    return {name: reason for index in indexes for name, reason in index.left_out.items()}


def earlier_prompt(history: Sequence[Event], prompt: str, indexes: Sequence[Index]) -> str:
    """Return the prompt before this one if this is a follow-up, else "".

    Of several follow-ups in a row, that is the last one with words that files have: "Why?" tells the next nothing.
    """
    before = [event.content for event in reversed(history) if isinstance(event, UserInput)]
    if not before or not is_follow_up(prompt, {language for index in indexes for language in index.languages}):
        return ""
    return next((one for one in before if any(index.query(one).told for index in indexes)), "")


def call_number(history: Sequence[Event]) -> int:
    """Return the number of the next tool call of a session, from 1."""
    return 1 + sum(isinstance(event, ToolCall) for event in history)


def retrieve_call(call_id: str, indexes: Sequence[Index], query: str, limit: int) -> ToolCall:
    """Return the event of a call of `retrieve`."""
    index_ids: list[JsonValue] = [index.index_id for index in indexes]
    return ToolCall(
        call_id=call_id, name="retrieve", arguments={"query": query, "index_ids": index_ids, "top_k": limit}
    )


def retrieve_result(call: ToolCall, found: Retrieved) -> ToolResult:
    """Return the event of the result of `retrieve`."""
    return ToolResult(call_id=call.call_id, name=call.name, result=found.as_result())


def read_page(call_id: str, hit: Hit, indexes: Sequence[Index]) -> list[Event]:
    """Return the events that show the whole page of a passage, with its image; none for a passage without a page."""
    number, name = hit.passage.page, hit.attachment_name
    index = next(index for index in indexes if index.index_id == hit.index_id)
    sheet = index.page(hit.document.file_id, number) if number is not None else None
    if sheet is None:
        return []
    call = ToolCall(call_id=call_id, name="read", arguments={"file_id": hit.document.file_id, "page": number})
    image = ImageAttachment(attachment_name=name, source_id=hit.document.file_id) if name else None
    result = ToolResult(call_id=call_id, name="read", result={"content": sheet.text}, image_attachment=image)
    return [call, result]
