"""What a caller or a service names stays in its place of a request's path, in every call of both backends."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from chat_sessions import AsyncTurnStream, ConfigurationError, LlamaCloudChat, TurnStream
from chat_sessions.openhands import OpenHandsChat
from tests.faces import do, every
from tests.wire_server import WireServer

NO_SEGMENTS = ["", ".", "..", "a\nb", "\ud800", 7]
GIVEN: dict[str, Any] = {
    "prompt": "q",
    "title": "t",
    "question": "q",
    "index_ids": ["i"],
    "first_message": "q",
    "accept": True,
    "tags": {},
    "secrets": {},
    "policy": {"kind": "NeverConfirm"},
    "llm": "m",
    "event_id": "e",
    "timeout": 1.0,
}


def calls_of(client: type[Any]) -> list[str]:
    """The names of the methods that take a session's id and send something."""
    found = [name for name, _ in inspect.getmembers(client, callable) if name[0] != "_" and name != "queue_key"]
    return [name for name in found if "session_id" in inspect.signature(getattr(client, name)).parameters]


async def call(method: Any, session_id: object) -> None:
    """Call the method, and read whatever it gives to its end."""
    needed = [p.name for p in inspect.signature(method).parameters.values() if p.default is p.empty]
    given = {name: GIVEN[name] for name in needed if name in GIVEN}
    answer = await do(method(session_id, **given))
    if isinstance(answer, TurnStream | AsyncTurnStream):
        await do(answer.open())
    elif isinstance(answer, Iterator | AsyncIterator):
        await every(answer)


@pytest.fixture
def llama_cloud(wire: WireServer) -> Iterator[LlamaCloudChat]:
    with LlamaCloudChat(api_key="k", base_url=wire.url, index_ids=["i"], max_retries=0) as chat:
        yield chat


@pytest.fixture
def openhands(wire: WireServer) -> Iterator[OpenHandsChat]:
    with OpenHandsChat(base_url=wire.url, llm="m", max_retries=0) as chat:
        yield chat


@pytest.mark.parametrize("session_id", NO_SEGMENTS, ids=repr)
@pytest.mark.parametrize("name", calls_of(LlamaCloudChat))
async def test_no_call_of_llama_cloud_sends_what_is_no_segment_of_a_path(
    wire: WireServer, llama_cloud: LlamaCloudChat, name: str, session_id: object
) -> None:
    for face in (llama_cloud, llama_cloud.aio):
        with pytest.raises(ConfigurationError, match="session"):
            await call(getattr(face, name), session_id)
    assert wire.requests == []


@pytest.mark.parametrize("session_id", NO_SEGMENTS, ids=repr)
@pytest.mark.parametrize("name", calls_of(OpenHandsChat))
async def test_no_call_of_an_agent_server_sends_what_is_no_segment_of_a_path(
    wire: WireServer, openhands: OpenHandsChat, name: str, session_id: object
) -> None:
    for face in (openhands, openhands.aio):
        with pytest.raises(ConfigurationError):
            await call(getattr(face, name), session_id)
    assert wire.requests == []


@pytest.mark.parametrize("profile", NO_SEGMENTS[1:5], ids=repr)
async def test_the_name_of_an_agent_profile_is_one_segment_of_a_path(wire: WireServer, profile: str) -> None:
    chat = OpenHandsChat(base_url=wire.url, llm="m", agent=profile, max_retries=0)
    for face in (chat, chat.aio):
        with pytest.raises(ConfigurationError, match="cannot be used as the name of the agent profile"):
            await do(face.create())
    assert wire.requests == []
