"""One turn cut at any of its bytes, without sockets, through every surface and in sessions of every kind.

A session is "new", or it is "resumed" by id and holds an older turn of the same words, which nobody counted; its client
may be told not to read that first ("no baseline").
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from itertools import count
from typing import Literal

import httpx

from chat_sessions import (
    AsyncChatSession,
    ChatSession,
    LlamaCloudChat,
    Text,
    Timeouts,
    Turn,
    TurnInterrupted,
    TurnOutcomeUnknown,
)
from chat_sessions.langchain import SessionChatModel
from chat_sessions.llama_index import SessionChatEngine
from chat_sessions.testing import How
from tests.faces import apart, said
from tests.faults.playback import QUESTION

__all__ = ["ENDS", "KINDS", "SUMMARY", "SURFACES", "Kind", "Surface", "Wire", "sweep"]

ENDS: tuple[Literal["clean", "fin", "reset"], ...] = ("clean", "fin", "reset")
SUMMARY = {"last_updated_at": "2026-04-22T12:34:41", "generated_title": None, "index_ids": None, "job_metadata": None}
Kind = Literal["new", "resumed", "no baseline"]
KINDS: tuple[Kind, ...] = ("new", "resumed", "no baseline")
OLDER = "An older answer."
# What a process has counted of a session, all its clients know.
_ids = count()


class _Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that breaks off."""

    def __init__(self, data: bytes, how: How) -> None:
        self.data = data
        self.how = how

    def _break(self) -> None:
        if self.how == "reset":
            raise httpx.ReadError("reset")
        if self.how == "fin":
            raise httpx.RemoteProtocolError("incomplete chunked read")

    def __iter__(self) -> Iterator[bytes]:
        yield self.data
        self._break()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.data
        self._break()


class Wire:
    """A service that answers each message with the recorded turn up to `cut`, and then shows the whole of it.

    Sessions that it did not create hold an older turn of the same words.
    """

    def __init__(self, stream: bytes, history: bytes) -> None:
        self.stream = stream
        self.cut: tuple[int, How] = (0, "clean")
        self.posts = 0
        self._history = json.loads(history)
        older = [
            {"type": "user_input", "content": QUESTION},
            {"type": "text", "content": OLDER},
            {"type": "stop", "is_error": False, "usage": {}},
        ]
        self._older = {False: [], True: older}
        self._numbers = count()
        self._asked: set[str] = set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/api/v1/chat":
            return httpx.Response(200, json={**SUMMARY, "session_id": f"ses-{next(self._numbers)}"})
        session_id = path.split("/")[4]
        if request.method == "GET":
            events = self._older[session_id.startswith("old-")]
            if session_id in self._asked:
                events = events + self._history["events"]
            return httpx.Response(200, json={**self._history, "session_id": session_id, "events": events})
        self.posts += 1
        self._asked.add(session_id)
        at, how = self.cut
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=_Broken(self.stream[:at], how))


# What a surface shows of a turn: each asks in the session that it is given.
Surface = Callable[[LlamaCloudChat, str | None, bool], Awaitable[str]]


def _session(chat: LlamaCloudChat, session_id: str | None, baseline: bool) -> ChatSession:
    return chat.session(session_id, baseline=baseline)


async def _core(chat: LlamaCloudChat, session_id: str | None, baseline: bool) -> str:
    stream = _session(chat, session_id, baseline).stream(QUESTION)
    shown = said(stream)
    assert shown == stream.turn.text
    return shown


async def _async_core(chat: LlamaCloudChat, session_id: str | None, baseline: bool) -> str:
    session: AsyncChatSession = chat.aio.session(session_id, baseline=baseline)
    stream = session.stream(QUESTION)
    shown = said([event async for event in stream])
    assert shown == stream.turn.text
    return shown


async def _stream_chat(chat: LlamaCloudChat, session_id: str | None, baseline: bool) -> str:
    engine = SessionChatEngine.from_session(_session(chat, session_id, baseline))
    return "".join(engine.stream_chat(QUESTION).response_gen)


async def _astream_chat(chat: LlamaCloudChat, session_id: str | None, baseline: bool) -> str:
    engine = SessionChatEngine.from_session(_session(chat, session_id, baseline))
    response = await engine.astream_chat(QUESTION)
    return "".join([piece async for piece in response.async_response_gen()])


async def _stream(chat: LlamaCloudChat, session_id: str | None, baseline: bool) -> str:
    model = SessionChatModel.from_session(_session(chat, session_id, baseline))
    return "".join(str(chunk.text) for chunk in model.stream(QUESTION))


async def _astream(chat: LlamaCloudChat, session_id: str | None, baseline: bool) -> str:
    model = SessionChatModel.from_session(_session(chat, session_id, baseline))
    return "".join([str(chunk.text) async for chunk in model.astream(QUESTION)])


SURFACES: dict[str, Surface] = {
    "stream": _core,
    "aio.stream": _async_core,
    "engine.stream_chat": _stream_chat,
    "engine.astream_chat": _astream_chat,
    "model.stream": _stream,
    "model.astream": _astream,
}


async def sweep(
    recording: tuple[bytes, bytes], whole: Turn, surface: Surface, kind: Kind, offsets: Iterable[int]
) -> Counter[str]:
    """Cut the turn at each of these bytes, and count what the surface showed.

    "whole", "doubled", "older" (the answer of the older turn), "lost" (an error, or less than the session holds); or
    "unknown", an error that says so, which only a client that did not read what was before may be told.
    """
    wire = Wire(*recording)
    transport = httpx.MockTransport(wire)
    # The first look shows the whole turn. Without a baseline, each further one shows the same again.
    timeouts = Timeouts(recovery=0.05 if kind == "no baseline" else 60)
    counts: Counter[str] = Counter()
    expected = apart(whole.events, Text)
    async with httpx.AsyncClient(transport=transport) as async_http:
        with httpx.Client(transport=transport) as http:
            chat = LlamaCloudChat(
                api_key="k",
                base_url="http://127.0.0.1",
                index_ids=["idx-docs"],
                timeouts=timeouts,
                http_client=http,
                async_http_client=async_http,
            )
            for at in offsets:
                wire.cut = (at, ENDS[at % 3])
                session_id = None if kind == "new" else f"old-{next(_ids)}"
                try:
                    shown = await surface(chat, session_id, kind != "no baseline")
                except (TurnInterrupted, TurnOutcomeUnknown):
                    counts["unknown" if kind == "no baseline" else "lost"] += 1
                    continue
                if shown == expected:
                    counts["whole"] += 1
                elif OLDER in shown:
                    counts["older"] += 1
                else:
                    counts["lost" if expected.startswith(shown) else "doubled"] += 1
    assert wire.posts == counts.total()
    return counts
