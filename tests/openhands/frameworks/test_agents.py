"""Agents of every kind on real servers: profiles that the server keeps, ACP agents, agents that run wild."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chat_sessions.core.errors import (
    ConfigurationError,
    ConflictError,
    InternalServerError,
    NotFoundError,
    RateLimitError,
    TurnFailed,
    TurnStalled,
)
from chat_sessions.openhands import OpenHandsChat
from chat_sessions.session import Timeouts, TurnStream
from tests.faces import do, first
from tests.openhands.servers.agent_server import API_KEY, MAX_RUNS, AgentServer
from tests.openhands.servers.model_server import ModelServer

pytestmark = pytest.mark.openhands

_NEW = pytest.mark.parametrize("version", ["1.58.2"])
_ACP = {
    "kind": "ACPAgent",
    "acp_command": [sys.executable, str(Path(__file__).parents[1] / "servers" / "acp_agent.py")],
}


@pytest.fixture
def profile(server: AgentServer) -> Iterator[str]:
    """The name of an LLM profile that the server keeps, and of an agent profile with it where there can be one."""
    name = "kept"
    if not server.is_new:
        # It has no route to make one.
        folder = server.home / ".openhands" / "profiles"
        folder.mkdir(parents=True, exist_ok=True)
        fields = ", ".join(f'"{key}": {value!r}'.replace("'", '"') for key, value in server.llm.items())
        (folder / f"{name}.json").write_text("{" + fields + ', "stream": true, "usage_id": "kept"}', "utf-8")
        yield name
        return
    with httpx.Client(base_url=server.url, headers={"X-Session-API-Key": API_KEY}, timeout=60) as client:
        llm = {**server.llm, "stream": True}
        client.post(f"/api/profiles/{name}", json={"llm": llm, "include_secrets": True}).raise_for_status()
        body = {"name": name, "llm_profile_ref": name}
        client.post(f"/api/agent-profiles/{name}", json=body).raise_for_status()
        yield name


async def test_a_model_that_the_server_keeps_is_named_by_its_profile(
    server: AgentServer, face: str, profile: str
) -> None:
    with server.client(llm={"profile": profile}) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        turn = await do(session.ask("TOOL please"))
        assert turn.text == "I will think.\n\nThe tool has answered."
        # The server counts no calls of a model that it was given after the conversation began.
        assert (turn.usage.input_tokens, turn.usage.cost, turn.usage.turns) == (None, None, 2)
        fork = await do(session.fork())
        assert (await do(fork.ask("TEXT please"))).text == "Plain answer in pieces."
        await do(chat.close())


async def test_a_model_profile_that_is_not_there_leaves_no_conversation_behind(server: AgentServer, face: str) -> None:
    with server.client(llm={"profile": "nowhere"}) as made:
        chat: Any = made if face == "sync" else made.aio
        before = await first(1, chat.list(page_size=1))
        with pytest.raises(NotFoundError):
            await do(chat.create())
        assert await first(1, chat.list(page_size=1)) == before
        await do(chat.close())


async def test_a_conversation_with_an_id_of_its_own_is_not_deleted_for_want_of_a_profile(server: AgentServer) -> None:
    own = {"conversation": {"conversation_id": str(uuid.uuid4())}}
    with server.client(**own) as chat, server.client(llm={"profile": "nowhere"}, **own) as other:
        session_id = chat.create().session_id
        with pytest.raises(NotFoundError):
            other.create()
        assert chat.get_summary(session_id).session_id == session_id


@_NEW
async def test_an_agent_that_the_server_keeps_is_named_by_its_profile_or_the_profiles_id(
    server: AgentServer, face: str, profile: str
) -> None:
    async with httpx.AsyncClient(headers={"X-Session-API-Key": API_KEY}, timeout=60) as client:
        answer = await client.get(f"{server.url}/api/agent-profiles/{profile}")
    for name in (profile, answer.json()["profile"]["id"]):
        with server.client(llm=None, agent=name) as made:
            chat: Any = made if face == "sync" else made.aio
            session = chat.session()
            assert (await do(session.ask("TEXT please"))).text == "Plain answer in pieces."
            fork = await do(session.fork())
            assert (await do(fork.ask("TEXT again"))).text == "Plain answer in pieces."
            await do(chat.close())


async def test_an_agent_profile_that_is_not_there_is_a_404(server: AgentServer, face: str) -> None:
    with server.client(agent="nowhere") as made:
        chat: Any = made if face == "sync" else made.aio
        with pytest.raises(NotFoundError):
            await do(chat.create())
        await do(chat.close())


@_NEW
async def test_an_agent_behind_the_agent_client_protocol_is_an_agent_like_any_other(
    server: AgentServer, face: str
) -> None:
    with server.client(llm=None, agent=_ACP) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        turn = await do(session.ask("Look around"))
        (run,) = turn.tool_runs
        assert (run.name, run.arguments, run.status) == ("Look around", {"path": "."}, "completed")
        assert run.result == {"content": {"files": 3}, "is_error": False}
        assert (turn.text, turn.thinking, turn.error) == ("Three files.", "A look first.", None)
        assert (turn.usage.input_tokens, turn.usage.turns) == (None, 1)
        (stored,) = await do(session.turns())
        assert (stored.text, stored.thinking, stored.tool_runs) == (turn.text, turn.thinking, turn.tool_runs)
        await do(chat.close())


@pytest.mark.parametrize("version", ["1.18.1"])
def test_the_old_server_takes_no_such_agent_in_a_conversation(server: AgentServer) -> None:
    with (
        server.client(llm=None, agent=_ACP, max_retries=0) as chat,
        pytest.raises(InternalServerError, match="answered 500"),
    ):
        chat.create()


async def test_an_agent_that_repeats_itself_is_stopped_and_its_turn_fails(chat: Any) -> None:
    session = chat.session()
    with pytest.raises(TurnFailed, match="repeating itself") as caught:
        await do(session.ask("REPEAT"))
    assert len(caught.value.turn.tool_runs) > 2
    (stored,) = await do(session.turns())
    assert (stored.error, stored.tool_runs) == (caught.value.turn.error, caught.value.turn.tool_runs)
    assert (await do(session.summary())).job_metadata.is_error


async def test_an_agent_that_does_not_come_to_an_end_is_stopped_at_its_limit(server: AgentServer, face: str) -> None:
    with server.client(conversation={"max_iterations": 2, "stuck_detection": False}) as made:
        chat: Any = made if face == "sync" else made.aio
        with pytest.raises(TurnFailed, match="MaxIterationsReached"):
            await do(chat.session().ask("REPEAT"))
        await do(chat.close())


async def test_an_interrupt_refuses_the_actions_that_wait_and_the_session_goes_on(
    server: AgentServer, face: str
) -> None:
    with server.client(
        tools=[{"name": "terminal", "params": {"terminal_type": "subprocess"}}],
        conversation={"confirmation_policy": {"kind": "AlwaysConfirm"}},
    ) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        with pytest.raises(TurnFailed, match="waits for a confirmation"):
            await do(session.ask("SHELL"))
        with pytest.raises(ConflictError, match="waits for a confirmation"):
            await do(session.ask("TEXT"))
        await do(chat.interrupt(session.id))
        assert (await do(session.ask("TEXT"))).text == "Plain answer in pieces."
        (run,) = (await do(session.turns()))[0].tool_runs
        assert (run.status, "the run was interrupted" in str(run.result)) == ("failed", True)
        await do(chat.close())


@_NEW
async def test_a_server_at_its_limit_of_runs_has_the_message_which_is_not_sent_again(
    server: AgentServer, face: str, model: ModelServer
) -> None:
    model.hold()
    with server.client() as busy, server.client(max_retries=3) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session(busy.create().session_id)
        streams = held_to_the_limit(busy)
        asked = asyncio.create_task(do(session.ask("TEXT please")) if face == "async" else in_thread(session))
        # The server has the message, and refuses to run it.
        while not (await asyncio.to_thread(busy.read_info, session.id)).get("last_user_message_id"):
            assert not asked.done()
        model.release()
        assert (await asked).text == "Plain answer in pieces."
        assert [turn.prompt for turn in await do(session.turns())] == ["TEXT please"]
        for stream in streams:
            stream.result()
        await do(chat.close())


@_NEW
async def test_a_message_that_is_not_run_in_time_has_landed_and_says_so(
    server: AgentServer, face: str, model: ModelServer
) -> None:
    model.hold()
    timeouts = Timeouts(first_event=1, idle=20, recovery=20)
    with server.client() as busy, server.client(max_retries=0, timeouts=timeouts) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session(busy.create().session_id)
        streams = held_to_the_limit(busy)
        with pytest.raises(TurnStalled, match=r"limit of runs.* run\(.*do not send the prompt again") as caught:
            await do(session.ask("TEXT please"))
        assert "limit" in str(caught.value.__cause__)
        with pytest.raises(RateLimitError):
            busy.run(session.id)
        model.release()
        for stream in streams:
            stream.result()
        busy.run(session.id)
        # The next turn waits for the end of that run.
        assert (await do(busy.session(session.id).ask("TEXT again"))).text == "Plain answer in pieces."
        assert [turn.text for turn in await do(session.turns())] == ["Plain answer in pieces."] * 2
        await do(chat.close())


async def in_thread(session: Any) -> Any:
    return await asyncio.to_thread(session.ask, "TEXT please")


def held_to_the_limit(chat: OpenHandsChat) -> list[TurnStream]:
    """As many runs as the server takes at once, ten, each held by the model."""
    created = [chat.session(chat.create().session_id) for _ in range(MAX_RUNS)]
    streams = [session.stream("HELD").open() for session in created]
    for stream in streams:
        assert next(stream.text_deltas()) == "Half "
    return streams


async def test_the_server_tells_its_release(chat: Any, server: AgentServer) -> None:
    assert (await do(chat.server_info()))["version"] == server.version


@pytest.mark.parametrize("llm", [{"profile": ""}, {"profile": 3}, {"profile": "kept", "model": "m"}])
def test_a_profile_is_a_name_and_nothing_else(llm: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="nothing else"):
        OpenHandsChat(base_url="http://127.0.0.1:9", llm=llm)


def test_a_title_is_not_made_with_a_profile() -> None:
    chat = OpenHandsChat(base_url="http://127.0.0.1:9", llm="m")
    with pytest.raises(ConfigurationError, match="cannot be used here"):
        chat.generate_title(str(uuid.uuid4()), llm={"profile": "kept"})
