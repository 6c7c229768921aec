"""How long a turn waits for one that still runs in its session."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from chat_sessions import ConfigurationError, ConflictError
from chat_sessions.langchain import SessionChatModel, session_node
from tests.langchain.stage import TEXT, Stage


@pytest.fixture
def busy(stage: Stage) -> str:
    """A session whose turn was left early, and which still runs."""
    session_id = stage.play(TEXT[0], stage.actor.gate(), *TEXT[1:]).new_session()
    with stage.client.stream(session_id, "left") as stream:
        next(stream)
    return session_id


class _Opens(logging.Handler):
    """Lets the turn end that is waited for, once the wait has begun."""

    def __init__(self, gates: list[threading.Event]) -> None:
        super().__init__(logging.INFO)
        self._gates = gates
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "is still answering" in record.getMessage():
            self.lines.append(record.getMessage())
            for gate in self._gates:
                gate.set()


@pytest.fixture
def opens(stage: Stage, caplog: pytest.LogCaptureFixture) -> Iterator[_Opens]:
    caplog.set_level(logging.INFO, "chat_sessions.session")
    handler = _Opens(stage.actor.gates)
    logger = logging.getLogger("chat_sessions.session")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.mark.parametrize(
    "ask",
    [
        lambda stage, session_id: stage.model(session_id=session_id, wait_if_busy=False).invoke("q"),
        lambda stage, session_id: stage.model(session_id=session_id).invoke("q", wait_if_busy=False),
        lambda stage, session_id: stage.model(session_id=session_id, wait_if_busy=True).invoke("q", wait_if_busy=0),
        lambda stage, session_id: stage.model(session_id=session_id).bind(wait_if_busy=False).invoke("q"),
        lambda stage, session_id: list(stage.model(wait_if_busy=0.01).stream("q", session_id=session_id)),
        lambda stage, session_id: stage.model(session_id=session_id, wait_if_busy=False).as_tool().invoke("q"),
        lambda stage, session_id: session_node(stage.model(wait_if_busy=False)).invoke(
            {"messages": "q", "session_id": session_id}
        ),
        lambda stage, session_id: SessionChatModel.from_session(
            stage.client.session(session_id, wait_if_busy=False)
        ).invoke("q"),
    ],
)
def test_who_does_not_want_to_wait_for_a_busy_session_is_told(
    stage: Stage, busy: str, ask: Callable[[Stage, str], object]
) -> None:
    with pytest.raises(ConflictError):
        ask(stage, busy)
    assert stage.actor.prompts == ["left"]


async def test_async_code_that_does_not_want_to_wait_is_told(stage: Stage, busy: str) -> None:
    with pytest.raises(ConflictError):
        await stage.model(session_id=busy, wait_if_busy=False).ainvoke("q")
    with pytest.raises(ConflictError):
        _ = [chunk async for chunk in stage.model(session_id=busy).astream("q", wait_if_busy=False)]
    with pytest.raises(ConflictError):
        await stage.model(wait_if_busy=False, session_id=busy).as_tool().ainvoke("q")
    assert stage.actor.prompts == ["left"]


def test_a_busy_session_is_waited_for_and_the_log_says_so_once(stage: Stage, busy: str, opens: _Opens) -> None:
    assert stage.model(session_id=busy).invoke("q").text == "Hello world"
    assert opens.lines == [
        f"session {busy} is still answering an earlier question; this one waits for that, for up to 600 s"
    ]


@pytest.mark.usefixtures("opens")
async def test_a_call_may_wait_though_its_model_does_not(stage: Stage, busy: str) -> None:
    model = stage.model(session_id=busy, wait_if_busy=False)
    assert (await model.ainvoke("q", wait_if_busy=True)).text == "Hello world"


def test_what_is_no_time_to_wait_is_refused_before_any_request(stage: Stage) -> None:
    with pytest.raises(ConfigurationError, match="wait_if_busy must be True, False or seconds"):
        stage.model(wait_if_busy=-1)
    with pytest.raises(ConfigurationError, match="wait_if_busy must be True, False or seconds"):
        stage.model().invoke("q", wait_if_busy="no")
    assert stage.actor.prompts == []
