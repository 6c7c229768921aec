"""What the replay server sends: the same turn as the streams of three services, event by event.

The sizes are those of the services: about 50 bytes for a delta of the Chat API, 230 for one of a completions API,
600 for one of a LangGraph server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import ClassVar
from zlib import crc32

__all__ = ["HEAD", "WIRES", "answer", "checksum", "chunk", "words"]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
# Deltas of text in a round of the mixed turn; half as many are reasoning.
_ROUND = 500
_BLOCK = 16 * 1024


def words(count: int) -> Iterator[str]:
    """The pieces of text of a turn of so many deltas."""
    return (f"tok{number % 10} " for number in range(count))


@cache
def checksum(count: int) -> int:
    """The CRC-32 of the turn's text."""
    return crc32("".join(words(count)).encode())


def _sse(body: object, name: str | None = None) -> bytes:
    line = b"" if name is None else f"event: {name}\n".encode()
    return line + b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def _message(body: dict[str, object]) -> bytes:
    return _sse(body, "message")


class _LlamaCloud:
    """The Chat API, its event names as its guide has them."""

    def delta(self, text: str) -> bytes:
        return _sse({"type": "text_delta", "content": text}, "delta")

    def end(self) -> list[bytes]:
        usage = {"total_input_tokens": 812, "total_output_tokens": 10_000, "turns": 1, "duration_ms": 1000.0}
        return [_message({"type": "stop", "usage": usage, "is_error": False, "error": None})]


class _OpenAI:
    """A chat completion, as OpenAI streams one that is asked for its usage too."""

    _fixed: ClassVar[dict[str, object]] = {
        "id": "chatcmpl-BnP1c5zQ0aVt9n5y8mG2xkR4dJw7u",
        "object": "chat.completion.chunk",
        "created": 1790000000,
        "model": "gpt-4o-mini-2024-07-18",
        "service_tier": "default",
        "system_fingerprint": "fp_34a54ae93c",
    }

    def _chunk(self, delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _sse({**self._fixed, "choices": [choice]})

    def delta(self, text: str) -> bytes:
        return self._chunk({"content": text})

    def end(self) -> list[bytes]:
        usage = {"prompt_tokens": 812, "completion_tokens": 10_000, "total_tokens": 10_812}
        return [self._chunk({}, "stop"), _sse({**self._fixed, "choices": [], "usage": usage}), b"data: [DONE]\n\n"]


class _LangGraph:
    """A run of a LangGraph server in the stream mode "messages"."""

    _fixed: ClassVar[dict[str, object]] = {
        "additional_kwargs": {},
        "response_metadata": {},
        "type": "AIMessageChunk",
        "name": None,
        "id": "run--0d4f0e3c-7d4b-4d1e-9d0c-6a3a3b7a2f10",
        "tool_calls": [],
        "invalid_tool_calls": [],
        "usage_metadata": None,
        "tool_call_chunks": [],
    }
    _metadata: ClassVar[dict[str, object]] = {
        "run_id": "1f0d4f0e-3c7d-4b4d-9e0c-6a3a3b7a2f10",
        "thread_id": "5b5f0d1c-2f0a-4f55-9c1e-2d6c3a9b8e77",
        "langgraph_step": 1,
        "langgraph_node": "agent",
        "langgraph_triggers": ["branch:to:agent"],
        "langgraph_path": ["__pregel_pull", "agent"],
        "ls_provider": "openai",
        "ls_model_name": "gpt-4o-mini",
        "ls_model_type": "chat",
    }

    def delta(self, text: str) -> bytes:
        return _sse([{"content": text, **self._fixed}, self._metadata], "messages")

    def end(self) -> list[bytes]:
        return [_sse(None, "end")]


Wire = _LlamaCloud | _OpenAI | _LangGraph
WIRES: dict[str, Wire] = {"llama_cloud": _LlamaCloud(), "openai": _OpenAI(), "langgraph": _LangGraph()}


def _mixed(count: int) -> list[bytes]:
    """A turn in rounds, each of which thinks, searches and writes. Its text is that of a turn of `count` deltas."""
    pieces = list(words(count))
    events: list[bytes] = []
    for start in range(0, count, _ROUND):
        call = {"call_id": f"call-{start}", "name": "search"}
        passages = [
            {"file_name": f"report-{page}.pdf", "page": page, "text": "The margin rose. " * 6, "score": 0.9}
            for page in range(1, 4)
        ]
        events += [_sse({"type": "thinking_delta", "content": "so, "}, "delta")] * (_ROUND // 2)
        events.append(_message({"type": "tool_call", **call, "arguments": {"query": f"margin {start}"}}))
        events.append(_message({"type": "tool_result", **call, "result": {"results": passages}}))
        events += [WIRES["llama_cloud"].delta(piece) for piece in pieces[start : start + _ROUND]]
    return [*events, *WIRES["llama_cloud"].end()]


def _tools(count: int) -> list[bytes]:
    """A turn of so many tool runs, with a delta after each."""
    events: list[bytes] = []
    for number, piece in enumerate(words(count)):
        call = {"call_id": f"call-{number}", "name": "search"}
        passage = {"file_name": f"report-{number}.pdf", "page": 1, "text": "The margin rose. " * 6, "score": 0.9}
        events.append(_message({"type": "tool_call", **call, "arguments": {"query": f"margin {number}"}}))
        events.append(_message({"type": "tool_result", **call, "result": {"results": [passage]}}))
        events.append(WIRES["llama_cloud"].delta(piece))
    return [*events, *WIRES["llama_cloud"].end()]


def chunk(data: bytes) -> bytes:
    """One HTTP chunk."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


_FRAMINGS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "co16": lambda events: [chunk(part) for part in _parts(b"".join(events))],
    "chunk": lambda events: [chunk(event) for event in events],
}


_TURNS = {"mixed": _mixed, "tools": _tools}


def _parts(data: bytes) -> list[bytes]:
    return [data[start : start + _BLOCK] for start in range(0, len(data), _BLOCK)]


@cache
def answer(wire: str, framing: str, count: int) -> tuple[bytes, ...]:
    """The answer to a request, in the pieces in which it is written: one, but for "write", which is one per event.

    Framings: "co16" is HTTP chunks of 16 KiB, "chunk" one chunk per event, "write" one chunk and one write per event,
    "mixed" as "chunk" with reasoning and tools, "tools" a turn of `count` tool runs.
    """
    if framing in _TURNS:
        events = _TURNS[framing](count)
    else:
        events = [WIRES[wire].delta(word) for word in words(count)] + WIRES[wire].end()
    chunks = _FRAMINGS["co16" if framing == "co16" else "chunk"](events)
    if framing == "write":
        return (HEAD, *chunks, END)
    return (HEAD + b"".join(chunks) + END,)
