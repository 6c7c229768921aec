"""Events over what the newer server puts in one frame, and sockets that bring nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chat_sessions.core.errors import ProtocolError
from chat_sessions.core.images import data_url
from chat_sessions.openhands.live.reading import Reading
from chat_sessions.session import Timeouts
from chat_sessions.session.backend import ConnectionLost, TurnRequest
from chat_sessions.session.deadlines import EventClock
from tests.faces import do
from tests.openhands.frameworks.test_images import large_picture
from tests.openhands.servers.agent_server import AgentServer
from tests.openhands.servers.proxy import Proxy
from tests.openhands.test_settings import settings


@pytest.mark.openhands
async def test_an_answer_of_ten_megabytes_is_read_whole_over_a_few_sockets(server: AgentServer, face: str) -> None:
    sockets: list[bytes] = []
    with Proxy(server.port) as proxy, server.client(base_url=proxy.url) as made:
        proxy.on_request = lambda head: sockets.append(head) if b"/sockets/" in head else None
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        turn = await do(session.ask("LARGE"))
        assert len(turn.text) > 10_000_000
        assert turn.usage.turns == 1
        assert len(sockets) < 5
        assert await do(session.turns()) == [turn]
        await do(chat.close())


@pytest.mark.openhands
async def test_a_picture_of_four_megabytes_from_a_tool_is_read_whole_over_a_few_sockets(
    server: AgentServer, face: str
) -> None:
    sockets: list[bytes] = []
    shown = large_picture()
    assert len(shown) > 4_000_000
    (server.workspace / "large.png").write_bytes(shown)
    with (
        Proxy(server.port) as proxy,
        server.client(base_url=proxy.url, llm=server.seeing_llm, tools=["file_editor"]) as made,
    ):
        proxy.on_request = lambda head: sockets.append(head) if b"/sockets/" in head else None
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        turn = await do(session.ask(f"VIEW {server.workspace / 'large.png'}"))
        (run,) = turn.tool_runs
        assert run.image_urls == (data_url(shown),)
        assert turn.text
        assert len(sockets) < 5
        assert await do(session.turns()) == [turn]
        await do(chat.close())


@pytest.mark.openhands
async def test_a_picture_of_four_megabytes_goes_with_a_prompt(server: AgentServer, face: str) -> None:
    sockets: list[bytes] = []
    shown = large_picture()
    with Proxy(server.port) as proxy, server.client(base_url=proxy.url, llm=server.seeing_llm) as made:
        proxy.on_request = lambda head: sockets.append(head) if b"/sockets/" in head else None
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        turn = await do(session.ask("TEXT What is this?", images=[shown]))
        assert turn.text == "Plain answer in pieces."
        assert len(sockets) < 5
        assert await do(session.turns()) == [turn]
        await do(chat.close())


@pytest.mark.openhands
@pytest.mark.parametrize(("prompt", "limit", "size"), [("OVER", 1, 1_500_000), ("LARGE", 3, 10_200_000)])
async def test_an_event_over_the_clients_own_limit_is_read_from_the_history_and_the_server_answers_on(
    server: AgentServer, face: str, prompt: str, limit: int, size: int
) -> None:
    with server.client(max_event_bytes=limit * 1024 * 1024) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        assert len((await do(session.ask(prompt))).text) == size
        assert (await do(session.ask("TEXT more"))).text == "Plain answer in pieces."
        await do(chat.close())


def test_an_event_over_the_limit_is_left_out_and_looked_up_when_the_run_is_over() -> None:
    reading = Reading(settings(max_event_bytes=1024), TurnRequest("s", "Hi", ()), EventClock(Timeouts()))
    with pytest.raises(ProtocolError, match="max_event_bytes"):
        reading.take("x" * 1025)
    with pytest.raises(ProtocolError, match="max_event_bytes"):
        reading.take("é" * 513)
    reading.turn.has_landed = True
    reading.take("x" * 1025)
    assert not reading.ready
    reading.reconnected()
    with pytest.raises(ConnectionLost, match="whole turn"):
        reading.check_whole()


def test_sockets_that_bring_nothing_are_waited_for_longer_and_then_no_more() -> None:
    reading = Reading(settings(), TurnRequest("s", "Hi", ()), EventClock(Timeouts()))
    waits: list[float] = []
    while left := reading.reconnect_waits():
        waits.append(left[0])
        reading.reconnected()
    assert waits == sorted(waits)
    assert (waits[0], len(waits)) == (0.0, 6)
    event = {"id": "1", "kind": "MessageEvent", "source": "agent", "timestamp": "2026-01-01T00:00:00"}
    reading.take(json.dumps({"type": "durable", "seq": 1, "event": event}))
    assert reading.reconnect_waits()[0] == 0.0
