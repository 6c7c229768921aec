"""The clients of a soak: every surface, sync and async, some of which leave, are cancelled, or share a session."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from chat_sessions import (
    APIConnectionError,
    APIStatusError,
    ConflictError,
    InternalServerError,
    LlamaCloudChat,
    ProtocolError,
    TextDelta,
    TurnError,
    TurnOutcomeUnknown,
)
from chat_sessions.langchain import SessionChatModel
from chat_sessions.llama_index import SessionChatEngine

__all__ = ["Client", "Told"]

# What the caller was told: the whole answer; an error that says the prompt landed; one that says that nobody knows; one
# that says it did not; or nothing, as it left.
Kind = Literal["answered", "broken", "unknown", "not taken", "left"]


@dataclass(frozen=True)
class Told:
    """What a client was told of one prompt, and the text that it was shown."""

    kind: Kind
    session_id: str
    prompt: str
    text: str = ""
    error: str = ""


# Each asks once, and returns what it showed; `shown` has it too where it raises.
Way = Callable[[LlamaCloudChat, str, str, list[str]], Awaitable[None]]


async def _core(chat: LlamaCloudChat, session_id: str, prompt: str, shown: list[str]) -> None:
    def ask() -> None:
        with chat.stream(session_id, prompt) as stream:
            shown.extend(event.content for event in stream if isinstance(event, TextDelta))

    await asyncio.to_thread(ask)


async def _async_core(chat: LlamaCloudChat, session_id: str, prompt: str, shown: list[str]) -> None:
    async with chat.aio.stream(session_id, prompt) as stream:
        async for event in stream:
            if isinstance(event, TextDelta):
                shown.append(event.content)


async def _engine(chat: LlamaCloudChat, session_id: str, prompt: str, shown: list[str]) -> None:
    engine = SessionChatEngine(client=chat, session_id=session_id)
    await asyncio.to_thread(lambda: shown.extend(engine.stream_chat(prompt).response_gen))


async def _async_engine(chat: LlamaCloudChat, session_id: str, prompt: str, shown: list[str]) -> None:
    response = await SessionChatEngine(client=chat, session_id=session_id).astream_chat(prompt)
    async for piece in response.async_response_gen():
        shown.append(piece)


async def _model(chat: LlamaCloudChat, session_id: str, prompt: str, shown: list[str]) -> None:
    model = SessionChatModel(client=chat, session_id=session_id)
    await asyncio.to_thread(lambda: shown.append(str(model.invoke(prompt).text)))


async def _async_model(chat: LlamaCloudChat, session_id: str, prompt: str, shown: list[str]) -> None:
    async for chunk in SessionChatModel(client=chat, session_id=session_id).astream(prompt):
        shown.append(str(chunk.text))


async def _left(chat: LlamaCloudChat, session_id: str, prompt: str, shown: list[str]) -> None:
    stream = chat.aio.stream(session_id, prompt)
    async with stream:
        async for event in stream:
            if isinstance(event, TextDelta):
                shown.append(event.content)
                if len(shown) == 3:
                    raise asyncio.CancelledError


async def _cancelled(chat: LlamaCloudChat, session_id: str, prompt: str, shown: list[str]) -> None:
    asking = asyncio.create_task(_async_model(chat, session_id, prompt, shown))
    await asyncio.wait([asking], timeout=random.uniform(0, 0.5))
    asking.cancel()
    await asking


WAYS: tuple[Way, ...] = (_core, _async_core, _engine, _async_engine, _model, _async_model, _left, _cancelled)


class Client:
    """Asks one turn after the other, in sessions of its own and in one that all share."""

    def __init__(self, chat: LlamaCloudChat, name: str, sessions: list[str], told: list[Told]) -> None:
        self._chat = chat
        self._name = name
        self._sessions = sessions
        self._told = told
        self.errors: Counter[str] = Counter()

    async def run(self, until: Callable[[], bool], pause: float) -> None:
        """Ask until it is time to end."""
        number = 0
        while not until():
            number += 1
            self._told.append(await self.ask(random.choice(self._sessions), f"{self._name}.{number}"))
            await asyncio.sleep(random.uniform(0, pause))

    async def ask(self, session_id: str, prompt: str, way: Way | None = None) -> Told:
        """Ask once, and return what the caller was told."""
        shown: list[str] = []
        kind: Kind = "answered"
        said = ""
        try:
            await (way or random.choice(WAYS))(self._chat, session_id, prompt, shown)
        except asyncio.CancelledError:
            kind = "left"
        except TurnOutcomeUnknown as error:
            kind, said = "unknown", f"{type(error).__name__}: {error}"
        except (TurnError, ProtocolError) as error:
            kind, said = "broken", f"{type(error).__name__}: {error}"
        except (APIConnectionError, ConflictError, InternalServerError) as error:
            is_a_gateways = isinstance(error, InternalServerError) and error.status_code in (502, 504)
            kind, said = "unknown" if is_a_gateways else "not taken", f"{type(error).__name__}: {error}"
        except APIStatusError as error:
            kind, said = "not taken", f"{type(error).__name__}: {error}"
        if said:
            self.errors[said.replace(session_id, "…")] += 1
        return Told(kind, session_id, prompt, "".join(shown), said)
