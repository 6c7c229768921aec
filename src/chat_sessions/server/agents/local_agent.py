"""The default agent of the local server. It retrieves, reads and quotes, and needs no model.

Everything it says about the documents is in the documents. It adds only where that is, or that it found nothing.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from chat_sessions.core.events import (
    Event,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    UserInput,
)
from chat_sessions.core.models import ImageAttachment, Usage
from chat_sessions.server.agents.answers import Answer, answer
from chat_sessions.server.agents.questions import Question, readings_of
from chat_sessions.server.documents.indexes import Hit, Index
from chat_sessions.server.documents.words import count_words
from chat_sessions.server.turns.agent import AgentTurn

__all__ = ["LocalAgent"]

_PIECE = re.compile(r"\s*\S+\s*")
_CITATION = re.compile(r"\[[^\[\]]*\]\s*\Z")
_SHOWN_FILES = 5


@dataclass(slots=True)
class _Count:
    """The words that a turn has read and written so far."""

    taken_in: int = 0
    given_out: int = 0
    rounds: int = 1


class LocalAgent:
    """Answers from the documents of the turn's indexes, without a model.

    A turn consists of a thought, and the tool `retrieve` with its result. If a follow-up finds nothing and can be
    understood in another way, these are repeated. If a page of a PDF answers the question, `read` and the whole page
    with its screenshot follow. Then comes the answer. Tokens in its usage are words and numbers: in, the prompt and the
    tool results; out, thoughts and answer. `usage.turns` is 1 plus the number of tool calls.
    """

    def __init__(self, *, passages: int = 5) -> None:
        """Make an agent whose `retrieve` returns at most `passages` passages."""
        if passages < 1:
            raise ValueError(f"passages must be at least 1, not {passages}")
        self._passages = passages

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        """Yield a thought, the tool runs, the answer and the stop."""
        started = time.perf_counter()
        count = _Count(taken_in=count_words(turn.prompt))
        calls = sum(isinstance(event, ToolCall) for event in turn.history)
        earlier = [event.content for event in turn.history if isinstance(event, UserInput)]
        last_answer = next((event.content for event in reversed(turn.history) if isinstance(event, Text)), "")
        readings = readings_of(turn.prompt, earlier, _CITATION.sub("", last_answer))

        found: Answer | None = None
        for question in readings:
            for event in _thought(_plan(question, turn.indexes), count):
                yield event
                await asyncio.sleep(0)
            calls += 1
            call = ToolCall(
                call_id=f"call_{calls}",
                name="retrieve",
                arguments={
                    "query": question.query,
                    "index_ids": [index.index_id for index in turn.indexes],
                    "top_k": self._passages,
                },
            )
            yield call
            hits, found = await asyncio.to_thread(_look_up, question, turn.indexes, self._passages)
            yield _result(call, {"results": [hit.as_result() for hit in hits]}, count)
            if found:
                break

        if found and found.page.number is not None:
            number = found.page.number
            thought = f"Page {number} of {found.document.name} seems to answer this; I read it as a whole."
            for event in _thought(thought, count):
                yield event
                await asyncio.sleep(0)
            call = ToolCall(
                call_id=f"call_{calls + 1}",
                name="read",
                arguments={"file_id": found.document.file_id, "page": number},
            )
            yield call
            await asyncio.sleep(0)
            screenshot = ImageAttachment(
                attachment_name=f"screenshots/page_{number}.jpg", source_id=found.document.file_id
            )
            yield _result(call, {"content": found.page.text}, count, screenshot)

        text = f"{found.text}\n\n{found.citation}" if found and "\n" in found.text else ""
        if not text:
            text = (
                f"{found.text} {found.citation}"
                if found
                else await asyncio.to_thread(_nothing, readings[0], turn.indexes)
            )
        count.given_out += count_words(text)
        for piece in _PIECE.findall(text):
            yield TextDelta(content=piece)
            # The event leaves before the next is made.
            await asyncio.sleep(0)
        yield Text(content=text)
        yield Stop(
            usage=Usage(
                input_tokens=count.taken_in,
                output_tokens=count.given_out,
                turns=count.rounds,
                duration_ms=(time.perf_counter() - started) * 1000,
            ),
            is_error=False,
        )


def _look_up(question: Question, indexes: Sequence[Index], limit: int) -> tuple[list[Hit], Answer | None]:
    """Return the best passages of all indexes together, and the answer in them."""
    if question.wants_overview and question.page is None:
        hits = [hit for index in indexes for hit in index.openings(question.query)]
    else:
        hits = [hit for index in indexes for hit in index.search(question.query, limit=limit, page=question.page)]
    hits.sort(key=lambda hit: -hit.score)
    del hits[limit:]

    def rarity(term: str) -> float:
        return min(index.rarity(term) for index in indexes)

    return hits, answer(question, hits, rarity) if hits else None


def _plan(question: Question, indexes: Sequence[Index]) -> str:
    count = sum(len(index.documents) for index in indexes)
    where = f"{count} document{'' if count == 1 else 's'}"
    words = [question.words[term] for term, weight in question.weights.items() if weight > 0.25]
    if not words:
        return f"The question has no word to search {where} for."
    return f"I search {where} for: {', '.join(words)}."


def _nothing(question: Question, indexes: Sequence[Index]) -> str:
    """Say that no document answers. Every word is true of the indexes."""
    if not indexes:
        return "I found nothing: none of the indexes of this session can be searched."
    names = [document.name for index in indexes for document in index.documents]
    shown = ", ".join(names[:_SHOWN_FILES]) + (
        f" and {len(names) - _SHOWN_FILES} more" if len(names) > _SHOWN_FILES else ""
    )
    unknown = [question.words[term] for term in question.subject if not any(index.knows(term) for index in indexes)]
    never = f" They never mention {_listed(unknown)}." if unknown else ""
    return f"I found nothing in the documents that answers this.{never} I searched: {shown}."


def _listed(words: Sequence[str]) -> str:
    quoted = [f"“{word}”" for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _thought(text: str, count: _Count) -> list[Event]:
    count.given_out += count_words(text)
    return [*(ThinkingDelta(content=piece) for piece in _PIECE.findall(text)), Thinking(content=text)]


def _result(
    call: ToolCall, result: dict[str, JsonValue], count: _Count, screenshot: ImageAttachment | None = None
) -> ToolResult:
    count.rounds += 1
    count.taken_in += count_words(str(result))
    return ToolResult(call_id=call.call_id, name=call.name, result=result, image_attachment=screenshot)
