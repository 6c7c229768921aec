"""One test for the sync and the async client: what differs is whether there is something to await."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from chat_sessions import (
    AsyncChatSession,
    AsyncLlamaCloudChat,
    AsyncTurnStream,
    ChatSession,
    Event,
    LlamaCloudChat,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    TurnStream,
)
from chat_sessions.core.turn import words_of

T = TypeVar("T")

AnyChat = LlamaCloudChat | AsyncLlamaCloudChat
AnySession = ChatSession | AsyncChatSession
AnyStream = TurnStream | AsyncTurnStream


async def do(value: Any) -> Any:
    """The value, awaited if it must be."""
    return await value if inspect.isawaitable(value) else value


async def every(items: Iterable[T] | AsyncIterable[T]) -> list[T]:
    """All items, of either kind of iterator."""
    if isinstance(items, AsyncIterable):
        return [item async for item in items]
    return list(items)


def said(events: Iterable[Event]) -> str:
    """The text that these live events show a reader."""
    return words_of(events, (TextDelta,))


def thought(events: Iterable[Event]) -> str:
    """The reasoning that they show."""
    return words_of(events, (ThinkingDelta,))


def apart(events: Iterable[Event], kind: type[Text | Thinking]) -> str:
    """The segments of this kind; a tool between two of them leaves a blank line where there is no space."""
    text, tool_between = "", False
    for event in events:
        if isinstance(event, kind) and event.content:
            is_apart = tool_between and text and not text[-1].isspace() and not event.content[0].isspace()
            text, tool_between = text + ("\n\n" if is_apart else "") + event.content, False
        tool_between = tool_between or isinstance(event, ToolCall | ToolResult)
    return text


async def first(count: int, items: Iterable[T] | AsyncIterable[T]) -> list[T]:
    """The first items, of either kind of iterator; no more are read."""
    found: list[T] = []
    async for item in some(items):
        found.append(item)
        if len(found) == count:
            break
    return found


async def some(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    """The items one by one, of either kind of iterator."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


@asynccontextmanager
async def entered(manager: Any) -> AsyncIterator[Any]:
    """Inside either kind of context manager."""
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value
