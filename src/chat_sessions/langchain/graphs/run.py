"""What a run of a graph becomes: its tokens, thoughts, tool calls and results as the events of a turn."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    ToolMessage,
    convert_to_messages,
)
from langchain_core.messages.ai import add_usage
from pydantic import JsonValue
from pydantic_core import to_jsonable_python

from chat_sessions.core import events
from chat_sessions.core.models import Usage
from chat_sessions.core.turn import gap
from chat_sessions.langchain.graphs.order import OneAtATime, Piece, Update, is_last

__all__ = ["GraphRun", "ToolTasks"]


class ToolTasks(BaseCallbackHandler):
    """Notes which tasks of a graph run tools. A graph within such a task is the tool's own affair."""

    # Before the tool begins, so before anything that it streams.
    run_inline = True

    def __init__(self) -> None:
        self._tasks: set[str] = set()

    @property
    def ignore_llm(self) -> bool:
        """True: this handler ignores models."""
        return True

    @property
    def ignore_chat_model(self) -> bool:
        """True, as for `ignore_llm`."""
        return True

    def on_tool_start(self, *_: Any, metadata: dict[str, Any] | None = None, **__: Any) -> None:
        """Note the task."""
        if task := (metadata or {}).get("langgraph_checkpoint_ns"):
            self._tasks.add(task)

    def hides(self, path: str) -> bool:
        """Return whether what has this path is within a tool."""
        return any(path.startswith(f"{task}|") for task in self._tasks)


class GraphRun:
    """The state of a run so far.

    Tokens arrive as messages; calls, results and messages in short forms arrive in the updates of nodes. What a graph
    within the graph adds arrives again in the update of the node that holds it.
    """

    def __init__(self, before: Iterable[BaseMessage], prompt: HumanMessage) -> None:
        """Begin a run with the messages before the prompt, and the prompt."""
        self.tools = ToolTasks()
        self._order = OneAtATime()
        self._talk = _Talk()
        self._known = _Known(before, prompt)
        self._calls = _Calls()
        # A string is the user's message for LangGraph; as a node's only word it is meant as the answer.
        self._string = ""
        self._rounds = 0
        self._cost: Any = None

    def add(self, namespace: tuple[str, ...], mode: str, part: Any) -> Iterator[events.Event]:
        """Yield the events of a part of the stream. Raises `RuntimeError` for a graph that waits."""
        if mode == "messages":
            message, metadata = part
            task = metadata.get("langgraph_checkpoint_ns") or "|".join(namespace)
            if isinstance(message, AIMessage | AIMessageChunk) and not self.tools.hides(task):
                yield from self._shown(self._order.add(Piece(task, message)))
            return
        if "__interrupt__" in part and not namespace:
            raise RuntimeError("the graph waits for an answer to an interrupt, which a session cannot give it")
        for node, state in part.items():
            path = "|".join((*namespace, node))
            if not self.tools.hides(path):
                yield from self._shown(self._order.add(Update(path, tuple(self._messages(state)))))

    def end(self) -> Iterator[events.Event]:
        """Yield what is left at the end of the run: what still waits, or a string that is the only answer."""
        yield from self._shown(self._order.end())
        if self._string and not self._talk.has_text:
            yield events.TextDelta(content=self._string)

    def usage(self) -> Usage:
        """Return the usage that the models reported."""
        cost: Mapping[str, int] = self._cost or {}
        return Usage(
            input_tokens=cost.get("input_tokens"), output_tokens=cost.get("output_tokens"), turns=self._rounds or 1
        )

    def _messages(self, state: Any) -> Iterator[BaseMessage]:
        """Yield the messages that a node returned, in whatever form."""
        for update in cast("list[Any]", state) if isinstance(state, list) else [state]:
            given: Any = cast("Mapping[str, Any]", update).get("messages") if isinstance(update, Mapping) else None
            # LangGraph's Overwrite holds them as its value.
            given = getattr(given, "value", given)
            for item in cast("list[Any]", given) if isinstance(given, list) else [given]:
                if isinstance(item, str):
                    self._string = "" if item == self._known.prompt.content else item
                    continue
                try:
                    yield from convert_to_messages([item])
                except (NotImplementedError, ValueError):
                    # The state's own reducer may accept things that are not messages.
                    continue

    def _shown(self, parts: Iterator[Piece | Update]) -> Iterator[events.Event]:
        for part in parts:
            if isinstance(part, Update):
                self._talk.pause()
                for message in self._known.new(part.messages):
                    yield from self._updated(message, part)
            elif isinstance(part.message, AIMessageChunk) or not (
                self._known.is_named_again(part.message) or self._talk.repeats(part.message, part.task)
            ):
                self._known.hear(part.message)
                yield from self._spoken(part)

    def _spoken(self, piece: Piece) -> Iterator[events.Event]:
        for block in piece.message.content_blocks:
            if block["type"] == "reasoning" and (thought := block.get("reasoning")):
                yield events.ThinkingDelta(content=self._talk.thought(piece, thought))
            elif block["type"] == "text" and block["text"]:
                yield events.TextDelta(content=self._talk.text(piece, block["text"]))
            elif (event := self._calls.served(piece.message, block)) is not None:
                self._talk.part()
                yield event
        if is_last(piece):
            self._talk.pause()

    def _updated(self, message: BaseMessage, update: Update) -> Iterator[events.Event]:
        if isinstance(message, AIMessage):
            is_heard = self._known.is_heard(message)
            if is_heard or not self._talk.repeats(message, f"{update.path}:"):
                self._rounds += 1
                if message.usage_metadata:
                    self._cost = add_usage(self._cost, message.usage_metadata)
                if not is_heard:
                    yield from self._spoken(Piece(f"{update.path}:", message))
            found: Iterator[events.Event] = self._calls.calls(message, update)
        elif isinstance(message, ToolMessage):
            found = self._calls.result(message)
        else:
            return
        for event in found:
            self._talk.part()
            yield event


class _Talk:
    """What was said so far, and where two messages need a gap between them."""

    def __init__(self) -> None:
        self.has_text = False
        self._said: dict[tuple[str, str, str | None], str] = {}
        self._last = {"text": "", "thought": ""}
        self._speaker: dict[str, Piece | None] = {"text": None, "thought": None}

    def text(self, piece: Piece, words: str) -> str:
        """Return a piece of text, with a gap before it where another message's text was the last."""
        self.has_text = True
        return self._apart("text", piece, words)

    def thought(self, piece: Piece, words: str) -> str:
        """As `text`, for reasoning."""
        return self._apart("thought", piece, words)

    def part(self) -> None:
        """Note that a tool's event comes here: readers part the text around it themselves."""
        self._last = dict.fromkeys(self._last, "")

    def pause(self) -> None:
        """Note that the message that was being written has ended."""
        self._speaker = dict.fromkeys(self._speaker)

    def repeats(self, message: AIMessage, task: str) -> bool:
        """Return whether a node returns in its own message what a model or agent within it has said."""
        kind, words = "text", message.text.strip()
        if not words:
            blocks = message.content_blocks
            thoughts = [block.get("reasoning", "") for block in blocks if block["type"] == "reasoning"]
            kind, words = "thought", "".join(thoughts).strip()
        return bool(words) and any(
            of == kind and path.startswith(task) and said.strip() == words for (of, path, _), said in self._said.items()
        )

    def _apart(self, kind: str, piece: Piece, words: str) -> str:
        key = (kind, piece.task, piece.message.id)
        self._said[key] = self._said.get(key, "") + words
        speaker = self._speaker[kind]
        before = "" if speaker is not None and piece.continues(speaker) else gap(self._last[kind], words)
        self._speaker[kind], self._last[kind] = piece, words
        return before + words


class _Known:
    """The messages already known: those of earlier turns, and those that have come in this one."""

    def __init__(self, before: Iterable[BaseMessage], prompt: HumanMessage) -> None:
        self.prompt = prompt
        self._seen = {message.id for message in before}
        self._heard: set[str | None] = set()
        # Messages that came without an id. A state may give them one later.
        self._unnamed: Counter[object] = Counter()

    def hear(self, message: AIMessage) -> None:
        """Note a message whose words were streamed."""
        self._heard.add(message.id)

    def is_heard(self, message: AIMessage) -> bool:
        """Return whether the words of this message were streamed."""
        return message.id is not None and message.id in self._heard

    def is_named_again(self, message: BaseMessage) -> bool:
        """Return whether this message came before, then without its id."""
        return message.id not in self._heard and self._unnamed[_content(message)] > 0

    def new(self, messages: tuple[BaseMessage, ...]) -> Iterator[BaseMessage]:
        """Yield the messages of an update that did not come before. A node may return the whole conversation again."""
        start = next((n + 1 for n in reversed(range(len(messages))) if self._is_prompt(messages[n])), 0)
        again = self._unnamed.copy() if start else Counter[object]()
        for message in messages[start:]:
            content = _content(message)
            if message.id is None and again[content] > 0:
                again[content] -= 1
            elif message.id is None:
                self._unnamed[content] += 1
                yield message
            elif message.id not in self._seen:
                self._seen.add(message.id)
                if self.is_named_again(message):
                    self._unnamed[content] -= 1
                else:
                    yield message

    def _is_prompt(self, message: BaseMessage) -> bool:
        if not isinstance(message, HumanMessage):
            return False
        return message.id == self.prompt.id or (message.id is None and message.content == self.prompt.content)


def _content(message: BaseMessage) -> object:
    """Return what two copies of a message have in common, apart from their id."""
    calls = [(call["name"], call["id"]) for call in message.tool_calls] if isinstance(message, AIMessage) else []
    return message.type, str(message.content), str(calls), getattr(message, "tool_call_id", None)


class _Calls:
    """Tool calls and their results, each once."""

    def __init__(self) -> None:
        # Tools that a model's service ran, by message and call: the names of those called, and those with a result.
        self._served: dict[tuple[str | None, str], str] = {}
        self._returned: set[tuple[str | None, str]] = set()
        # The calls of the graph's own tools, and whether their result came. A model may use an id again after that.
        self._has_result: dict[str, bool] = {}
        self._path_of: dict[str, str] = {}

    def calls(self, message: AIMessage, update: Update) -> Iterator[events.Event]:
        """Yield the calls in a whole message, and what its service ran."""
        served = (self.served(message, block) for block in message.content_blocks)
        yield from (event for event in served if event is not None)
        for call in message.tool_calls:
            call_id = call["id"] or f"call_{uuid.uuid4().hex[:8]}"
            # A node may return copies of the messages of an agent within it.
            if self._has_result.get(call_id, True) and not update.holds(self._path_of.get(call_id, "")):
                self._has_result[call_id] = False
                self._path_of[call_id] = update.path
                arguments = to_jsonable_python(call["args"], fallback=str)
                yield events.ToolCall(call_id=call_id, name=call["name"], arguments=arguments)

    def result(self, message: ToolMessage) -> Iterator[events.Event]:
        """Yield the result of a call."""
        if not self._has_result.get(message.tool_call_id, False):
            self._has_result[message.tool_call_id] = True
            yield events.ToolResult(call_id=message.tool_call_id, name=message.name or "tool", result=_result(message))

    def served(self, message: AIMessage, block: Mapping[str, Any]) -> events.ToolCall | events.ToolResult | None:
        """Return the event of a tool that the service of a model ran, once; a result only after its call.

        Calls whose arguments come in pieces are left to the whole message.
        """
        call_id = block.get("id" if block["type"] == "server_tool_call" else "tool_call_id")
        if not isinstance(call_id, str):
            return None
        key = (message.id, call_id)
        if block["type"] == "server_tool_call" and isinstance(block["args"], dict) and key not in self._served:
            name = self._served[key] = block["name"]
            arguments = to_jsonable_python(cast("object", block["args"]), fallback=str)
            return events.ToolCall(call_id=call_id, name=name, arguments=arguments)
        if block["type"] == "server_tool_result" and key in self._served and key not in self._returned:
            self._returned.add(key)
            result: JsonValue = to_jsonable_python(block.get("output"), fallback=str)
            if block.get("status") == "error" and not isinstance(result, dict):
                result = {"error": result}
            return events.ToolResult(call_id=call_id, name=self._served[key], result=result)
        return None


def _result(message: ToolMessage) -> JsonValue:
    """Return a tool's result as JSON. Documents in it become the answer's sources."""
    if message.status == "error":
        return {"error": message.text}
    found = message.artifact
    documents = cast("list[object]", found) if isinstance(found, list) else []
    passages: list[JsonValue] = [
        {"content": document.page_content, "metadata": to_jsonable_python(document.metadata, fallback=str)}
        for document in documents
        if isinstance(document, Document)
    ]
    if passages:
        return {"content": message.text, "results": passages}
    return {"content": message.text}
