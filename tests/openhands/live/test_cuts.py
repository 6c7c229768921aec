"""A websocket that is cut, at each of its frames in turn: nothing of the answer is lost, and nothing comes twice.

The sync and the async client take every other frame; each takes all with `CHAT_SESSIONS_ALL_CUTS=1`.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from chat_sessions.core.turn import Turn
from tests.faces import do, entered, some
from tests.openhands.servers.agent_server import AgentServer
from tests.openhands.servers.proxy import FrameProxy

pytestmark = pytest.mark.openhands

_PROMPT = "TOOL please"
_TEXT = "I will think.\n\nThe tool has answered."


async def _read(session: Any) -> Turn:
    """Read a turn as it is shown, and compare it with what is left of it."""
    shown: list[str] = []
    async with entered(session.stream(_PROMPT)) as stream:
        async for piece in some(stream.text_deltas()):
            shown.append(piece)
    turn: Turn = stream.turn
    assert "".join(shown) == turn.text == _TEXT
    assert [run.name for run in turn.tool_runs] == ["think"]
    return turn


async def test_a_turn_is_shown_once_and_whole_wherever_its_websocket_is_cut(server: AgentServer, face: str) -> None:
    with FrameProxy(server.port) as proxy, server.client(base_url=proxy.url) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        turns = [await _read(session)]
        # Of the second turn: the system prompt comes with the first alone.
        proxy.begin()
        turns.append(await _read(session))
        count = proxy.frames
        assert count > 10
        cuts = 0
        places = range(1, count + 1)
        if os.environ.get("CHAT_SESSIONS_ALL_CUTS") != "1":
            places = places[face == "async" :: 2]
        for place in places:
            proxy.begin(place)
            turns.append(await _read(session))
            cuts += proxy.cuts
        # The number of frames is not always the same.
        assert cuts > len(places) - 5
        assert await do(session.turns()) == turns
        await do(chat.close())


@pytest.mark.parametrize("place", [4, 9])
async def test_a_turn_is_shown_once_and_whole_if_each_of_its_websockets_is_cut(
    server: AgentServer, face: str, place: int
) -> None:
    with FrameProxy(server.port) as proxy, server.client(base_url=proxy.url) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        await do(session.create())
        proxy.begin(place, every_socket=True)
        turn = await _read(session)
        assert proxy.cuts
        assert await do(session.turns()) == [turn]
        await do(chat.close())
