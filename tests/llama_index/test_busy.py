"""How long a turn waits for one that still runs in its session."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from chat_sessions import ConfigurationError, ConflictError, LlamaCloudChat, TextDelta
from chat_sessions.llama_index import SessionAgent, SessionChatEngine
from tests.llama_index.conftest import ANSWER, KEY, METHODS, Gate, ScriptedAgent, Serve, ask

Busy = tuple[LlamaCloudChat, str, ScriptedAgent]

pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")


@pytest.fixture
def busy(serve: Serve) -> Busy:
    """A session whose turn was left early, and which still runs."""
    agent = ScriptedAgent((TextDelta(content="a"), Gate(), *ANSWER), ANSWER)
    chat = serve(agent=agent)
    session_id = chat.create(index_ids=["idx"]).session_id
    with chat.stream(session_id, "left") as stream:
        next(stream)
    return chat, session_id, agent


@pytest.mark.parametrize("method", METHODS)
async def test_an_engine_that_does_not_want_to_wait_for_a_busy_session_says_so(busy: Busy, method: str) -> None:
    chat, session_id, agent = busy
    engine = SessionChatEngine(client=chat, session_id=session_id, wait_if_busy=False)
    with pytest.raises(ConflictError):
        await ask(engine, method, "q")
    assert agent.prompts == ["left"]


@pytest.mark.parametrize("method", ["chat", "stream_chat"])
@pytest.mark.parametrize("prefix", ["", "a"])
async def test_a_call_may_refuse_to_wait(busy: Busy, method: str, prefix: str) -> None:
    chat, session_id, agent = busy
    engine = SessionChatEngine(client=chat, session_id=session_id, wait_if_busy=True)

    async def call() -> None:
        answer: Any = getattr(engine, prefix + method)("q", wait_if_busy=0.01)
        await answer

    with pytest.raises(ConflictError):
        await call()
    assert agent.prompts == ["left"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda engine: engine.as_query_engine(new_session=False).query("q"),
        lambda engine: engine.as_tool("docs", "Asks documents.", new_session=False).call("q"),
        lambda engine: pickle.loads(pickle.dumps(engine)).chat("q"),
        lambda engine: SessionChatEngine.from_session(engine.session, wait_if_busy=False).chat("q"),
    ],
)
def test_what_is_made_of_an_engine_waits_no_longer_than_it_does(
    busy: Busy, ask: Callable[[SessionChatEngine], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, session_id, agent = busy
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", KEY)
    engine = SessionChatEngine(client=chat, session_id=session_id, wait_if_busy=False)
    with pytest.raises(ConflictError):
        ask(engine)
    assert agent.prompts == ["left"]


async def test_an_agent_that_does_not_want_to_wait_for_a_busy_session_says_so(busy: Busy) -> None:
    chat, session_id, agent = busy
    with pytest.raises(ConflictError):
        await SessionAgent(client=chat, session_id=session_id, wait_if_busy=False).run(user_msg="q")
    assert agent.prompts == ["left"]


def test_what_is_no_time_to_wait_is_refused(serve: Serve) -> None:
    chat = serve()
    for make in (SessionChatEngine, SessionAgent):
        with pytest.raises(ConfigurationError, match="wait_if_busy must be True, False or seconds"):
            make(client=chat, wait_if_busy=-1)
