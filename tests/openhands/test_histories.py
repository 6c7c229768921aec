"""The history of a conversation as a server answers it, from captures of a real one."""

from __future__ import annotations

import time
from typing import Any

from chat_sessions.openhands import OpenHandsChat
from tests.faces import do
from tests.openhands.live.captured import body
from tests.wire_server import Connection, Request, WireServer


async def test_a_run_whose_end_is_stored_a_moment_after_its_status_is_told_as_it_is_later(face: str) -> None:
    info, stored = body("rest-get-conversation"), body("rest-events-search")
    began: list[float] = []

    def search(_: Request, connection: Connection) -> None:
        began.append(time.monotonic())
        is_early = began[-1] - began[0] < 0.1
        connection.respond(200, {**stored, "items": stored["items"][:-1]} if is_early else stored)

    with WireServer() as wire:
        wire.on("GET", f"/{info['id']}", lambda _, connection: connection.respond(200, info))
        wire.on("GET", "/events/search", search)
        with OpenHandsChat(base_url=wire.url, llm="m") as made:
            chat: Any = made if face == "sync" else made.aio
            session = chat.session(info["id"])
            told = await do(session.turns())
            assert told == await do(session.turns())
            assert told[-1].usage.duration_ms is not None
            await do(chat.close())
    assert len(began) == 3
