"""A session whose turn is told at once, and a page that follows it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from chat_sessions import Event, LocalServer
from chat_sessions.web.live.feed import Pace, feed
from chat_sessions.web.live.picture import Picture
from chat_sessions.web.live.sessions import LiveSessions
from tests.server.scripted import Gate, ScriptedAgent


async def followed(
    events: Sequence[Event | Gate], on_update: Callable[[str], None] = lambda _: None, pace: float = 15
) -> tuple[int, str]:
    """Ask; returns how many updates a page got, and the whole answer as it is shown at the end.

    `on_update` is called with each of them, of which there are at most `pace` a second.
    """
    with LocalServer(indexes={"idx-docs": "examples/documents"}, agent=ScriptedAgent(*events)) as server:
        chat = server.client().aio
        sessions = LiveSessions(chat, turn_lock=None, look_every=60)
        session = sessions.get((await chat.create(index_ids=["idx-docs"])).session_id)
        turn = await session.ask("Tell me")
        updates = 0

        async def follow() -> None:
            nonlocal updates
            async for message in feed(session, Picture(session), Pace(pace)):
                if message.startswith("data:"):
                    updates += 1
                    on_update(message)

        page = asyncio.create_task(follow())
        assert turn.task is not None
        await turn.task
        answer = Picture(session).whole()
        await sessions.close()
        await page
        await chat.close()
    return updates, answer
