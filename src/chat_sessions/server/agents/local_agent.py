"""The default agent of the local server. It retrieves and quotes, and needs no model.

Everything it says about the documents is in the documents. It adds only where that is, and that it quotes.
"""

from __future__ import annotations

import asyncio
import re
import time
import unicodedata
from collections.abc import AsyncIterator, Sequence

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.events import Event, Stop, Text, TextDelta, Thinking, ThinkingDelta, ToolResult
from chat_sessions.core.models import Usage
from chat_sessions.server.agents.quotes import quote
from chat_sessions.server.agents.retrieval import (
    Retrieved,
    call_number,
    citation,
    earlier_prompt,
    plan,
    read_page,
    retrieve,
    retrieve_call,
    retrieve_result,
)
from chat_sessions.server.documents.indexes import Hit, Index
from chat_sessions.server.documents.queries import telling_words
from chat_sessions.server.documents.reading.terms import is_unspaced, language_asked_in, terms, words
from chat_sessions.server.turns.agent import AgentTurn

__all__ = ["QUOTES", "LocalAgent"]

QUOTES = (
    "Quoted from the files, as no model is set; a model answers with `--llm MODEL`, in Python with "
    "`agent=LlmAgent.at(MODEL)`."
)
"""The last sentence of every answer of this agent."""

_PIECE = re.compile(r"\s*\S+\s*")
_BEGINNING = re.compile(r"[.!?:;\u2026](?=\s)|\n|[\"\u201c\u201e\u00ab(*#>-]+(?=\w)")
_SHOWN = 3
_SHARE_OF_BEST = 0.45
_SHOWN_FILES = 5
# How many words may open a question before it says what it asks about.
_OPENING = 2
# If at least this many words, and more than this share of them, are in no file, the answer says so even if another
# word fits.
_MANY_MISSING, _MOST_MISSING = 4, 0.75


class LocalAgent:
    """Quotes the passages that fit a prompt best, without a model.

    A turn consists of a thought, the tool `retrieve` with its result, and for a page of a PDF `read` with the whole
    page and its image. Then come up to three passages, each with its file and page. Tokens in its usage are words: in,
    the prompt and the tool results; out, thoughts and answer. `usage.turns` is 1 plus the number of tool calls.
    """

    def __init__(self, *, passages: int = 5) -> None:
        """Make an agent whose `retrieve` returns at most `passages` passages."""
        if passages < 1:
            raise ConfigurationError(f"passages must be at least 1, not {passages}")
        self._passages = passages

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        """Yield a thought, the tool runs, the answer and the stop."""
        started = time.perf_counter()
        number = call_number(turn.history)
        thought = plan(turn.indexes)
        for piece in _PIECE.findall(thought):
            yield ThinkingDelta(content=piece)
            # The event leaves before the next is made.
            await asyncio.sleep(0)
        yield Thinking(content=thought)
        earlier = earlier_prompt(turn.history, turn.prompt, turn.indexes)
        query = f"{turn.prompt} {earlier}".strip()
        call = retrieve_call(f"call_{number}", turn.indexes, query, self._passages)
        yield call
        await turn.refresh()
        found = await asyncio.to_thread(retrieve, turn.indexes, turn.prompt, earlier, self._passages)
        results = [retrieve_result(call, found)]
        yield results[0]
        best = found.hits[0] if found.hits else None
        if best is not None and best.attachment_name is not None:
            for event in read_page(f"call_{number + 1}", best, turn.indexes):
                yield event
                await asyncio.sleep(0)
                results += [event] if isinstance(event, ToolResult) else []
        text = await asyncio.to_thread(_answer, turn.prompt, earlier, found, turn.indexes)
        for piece in _PIECE.findall(text):
            yield TextDelta(content=piece)
            await asyncio.sleep(0)
        yield Text(content=text)
        yield Stop(
            usage=Usage(
                input_tokens=_count(turn.prompt, *(str(result.result) for result in results)),
                output_tokens=_count(thought, text),
                turns=1 + len(results),
                duration_ms=(time.perf_counter() - started) * 1000,
            ),
            is_error=False,
        )


def _answer(prompt: str, earlier: str, found: Retrieved, indexes: Sequence[Index]) -> str:
    if not indexes:
        return "Nothing was searched: none of the indexes of this session can be."
    shown = _shown(found)
    parts: list[str] = []
    # A word by itself, such as "Warum?", asks about what came before, and no file need have it.
    fits = _fits(found, shown) or bool(shown and earlier and not _inside(prompt))
    unsaid = _beside_numbers(prompt, found, opening=_OPENING + 1 if earlier else _OPENING)
    if not fits or _most(prompt, found):
        missing = found.missing
    else:
        named = {*_names(prompt, found.missing), *(() if earlier else unsaid)}
        missing = [word for word in found.missing if word in named]
    if missing or not fits:
        parts.append(_nothing(_whole(prompt, missing), found, indexes, nearest=bool(shown)))
    for hit in shown:
        text = quote(hit.passage.text, found.weights, found.languages)
        parts.append(f"{text}\n\n{citation(hit)}" if "\n" in text else f"{text} {citation(hit)}")
    further = dict.fromkeys([*_further(prompt, found), *unsaid])
    others = [word for word in further if word not in missing]
    if shown and others:
        parts.append(_no_file(others))
    if found.waiting:
        are = "file is" if found.waiting == 1 else "files are"
        parts.append(f"{found.waiting:,} new or changed {are} still being read, and not searched yet.")
    return "\n\n".join([*parts, QUOTES] if shown else parts)


def _shown(found: Retrieved) -> list[Hit]:
    """Return the passages to show: the best, and those that fit nearly as well."""
    if not found.hits:
        return []
    return [hit for hit in found.hits[:_SHOWN] if hit.score >= _SHARE_OF_BEST * found.hits[0].score]


def _fits(found: Retrieved, shown: Sequence[Hit]) -> bool:
    """Return whether one of the passages has a content word of the prompt."""
    if not found.told:
        return bool(shown) and not found.missing
    return any(
        found.told.intersection(terms(f"{hit.document.name} {hit.passage.section} {hit.passage.text}", language))
        for hit in shown
        for language in found.languages
    )


def _most(prompt: str, found: Retrieved) -> bool:
    """Return whether the files lack most content words of the prompt, as if it were in another language."""
    # Pairs of characters are not words.
    told = {word for word in telling_words(prompt, found.languages) if not is_unspaced(word)}
    missing = told.intersection(found.missing)
    return len(missing) >= _MANY_MISSING and len(missing) > _MOST_MISSING * len(told)


def _whole(prompt: str, missing: Sequence[str]) -> list[str]:
    """Join pairs of characters into the words that they form in the prompt."""
    prompt = unicodedata.normalize("NFKC", prompt)
    whole: list[str] = []
    for word in missing:
        if whole and is_unspaced(word) and whole[-1].endswith(word[0]) and whole[-1] + word[1:] in prompt:
            whole[-1] += word[1:]
        else:
            whole.append(word)
    return whole


def _further(prompt: str, found: Retrieved) -> list[str]:
    """Return the words that no file has but that qualify one that files have, as "gate" does in "the gate code".

    The words of a question's opening ("How much rent") qualify nothing, and neither do they where they come again
    ("and how much was planned").
    """
    missing = {word for word in found.missing if not is_unspaced(word)}
    endings = {hit.document.name.rpartition(".")[2].casefold() for hit in found.hits}
    has = {word for word in telling_words(prompt, found.languages) if word.casefold() not in endings} - missing
    further: dict[str, None] = {}
    sentences = [list(words(begun)) for begun in _BEGINNING.split(prompt)]
    asking = {word.casefold() for asked in sentences for word in asked[:_OPENING]}
    for asked in sentences:
        for at in range(_OPENING, len(asked)):
            if asked[at] in missing and asked[at].casefold() not in asking and has.intersection(asked[: at + 2]):
                further[asked[at]] = None
    return list(further)


def _beside_numbers(prompt: str, found: Retrieved, opening: int) -> list[str]:
    """Return the words that no file has if files have only the numbers of a prompt, as of "profit in 2025".

    The words that a question opens with, such as "How much", are not counted. Others open with no function word.
    """
    told = telling_words(prompt, found.languages)
    if not found.told or any(word not in found.missing and not any(map(str.isdigit, word)) for word in told):
        return []
    openings = [list(words(begun))[:opening] for begun in _BEGINNING.split(prompt)]
    asking = {word for begun in openings if not told.keys() >= set(begun) for word in begun}
    return [word for word in told if word in found.missing and word not in asking and not is_unspaced(word)]


def _inside(prompt: str) -> set[str]:
    """Return the words that do not begin a sentence, a line or a quotation."""
    return {word for begun in _BEGINNING.split(prompt) for word in list(words(begun))[1:]}


def _names(prompt: str, missing: Sequence[str]) -> list[str]:
    """Return the names and numbers among the words: a passage without one may be about something else."""
    asked = list(words(prompt))
    # German has a capital for every noun.
    is_german = language_asked_in(asked, ("eng", "deu")) == "deu"
    # The first word of a sentence, a line or a quotation is capitalised whatever it is.
    inside = _inside(prompt)
    return [
        word
        for word in missing
        if any(map(str.isdigit, word)) or not (is_german or word == word.lower() or word not in inside)
    ]


def _nothing(missing: Sequence[str], found: Retrieved, indexes: Sequence[Index], *, nearest: bool) -> str:
    """Say which words the files lack, and what was searched."""
    said = _no_file(missing) if missing else "No passage fits."
    if found.left_out:
        asked = {term for word in missing for language in found.languages for term in terms(word, language)}
        # A file whose name has a word of the question may be the one that is meant.
        unread = sorted(found.left_out, key=lambda name: asked.isdisjoint(terms(name, "eng")))
        said += f" Not searched, because they could not be read: {_named(unread)}."
    if nearest:
        return f"{said} The nearest:"
    return f"{said} Searched: {_named([document.name for index in indexes for document in index.documents])}."


def _no_file(missing: Sequence[str]) -> str:
    return f"No file has the word{'' if len(missing) == 1 else 's'} {_listed(missing)}."


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN_FILES:,} more" if len(names) > _SHOWN_FILES else ""
    return ", ".join(names[:_SHOWN_FILES]) + more


def _listed(words: Sequence[str]) -> str:
    quoted = [f"“{word}”" for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _count(*texts: str) -> int:
    return sum(len(text.split()) for text in texts)
