"""Whatever fails, and whatever the service is like: the turn is told truly, and no prompt is sent twice.

The real server on real sockets; `test_simulated` plays many more schedules in virtual time.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_sessions import (
    APIConnectionError,
    APIError,
    Event,
    InternalServerError,
    LlamaCloudChat,
    LocalServer,
    ProtocolError,
    Timeouts,
    TurnError,
    TurnOutcomeUnknown,
)
from chat_sessions.server import Behaviour
from chat_sessions.session import recovery
from chat_sessions.testing import (
    Compressed,
    Cut,
    Fault,
    Fine,
    Heartbeats,
    HtmlPage,
    Http10,
    HugeEvent,
    LateHistory,
    LineEnds,
    LostAnswer,
    LostRequest,
    NotJson,
    PartialHistory,
    ProxyBuffering,
    Refuse,
    Restart,
    SlowStart,
    Split,
    Stall,
    TrailAfterStop,
    WrongContentType,
)
from tests.faces import AnyChat, do, entered, said, some
from tests.faults.speaker import SHORT, Speaker
from tests.test_behaviours import CHOICES

TEXT = "It rose é 😀 a bit.\n\nIt rose é then fell."
THINKING = "Let me look."
ENDS = st.sampled_from(["clean", "fin", "reset"])
PLACES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(dict, at_byte=st.integers(0, 3000)),
    st.builds(dict, at_event=st.integers(0, len(SHORT) + 1)),
    st.builds(dict, before=st.sampled_from(["thinking", "tool_call", "tool_result", "text", "stop"])),
)

# How the bytes come, which changes nothing, in any combination, and then one thing that breaks.
SHAPES = st.lists(
    st.one_of(
        st.sampled_from([Http10(), ProxyBuffering(), Heartbeats(), Heartbeats("event"), Heartbeats("data")]),
        st.sampled_from([LineEnds("\r"), LineEnds("\n"), TrailAfterStop(), SlowStart(0.001), Split(1), Fine()]),
        st.builds(lambda sizes: Split(*sizes), st.lists(st.integers(1, 200), min_size=1, max_size=4)),
    ),
    max_size=2,
)
BREAKS = st.one_of(
    st.builds(lambda place, how, first: Cut(**place, how=how, finish_first=first), PLACES, ENDS, st.booleans()),
    st.builds(lambda how, at, first: LostAnswer(how, at, first), st.just("reset"), st.integers(0, 200), st.booleans()),
    st.builds(lambda at, refused: Restart(at, refused), st.integers(0, 3000), st.integers(0, 2)),
    st.builds(lambda place: Stall(**place, seconds=0.002), PLACES),
    st.sampled_from(
        [Fine(), LostRequest(), LostRequest("fin"), Refuse(409), Refuse(429, retry_after=0.01), Refuse(500)]
    ),
    st.sampled_from([Refuse(502, landed=True), HtmlPage(), HtmlPage(502), WrongContentType(), Compressed()]),
    st.sampled_from([HugeEvent(70_000, at_event=2), NotJson(at_event=3)]),
)
HISTORY = st.lists(
    st.one_of(
        st.builds(lambda times: LateHistory(times=times), st.integers(1, 2)),
        st.builds(lambda events: PartialHistory(events=events), st.integers(0, 6)),
        st.sampled_from([Refuse(503, on="history"), LostAnswer(on="history"), HtmlPage(502, on="history")]),
        st.builds(lambda at: Cut(at_byte=at, on="history"), st.integers(0, 800)),
    ),
    max_size=2,
)
SCHEDULES = st.tuples(st.builds(lambda shape, end: (*shape, end), SHAPES, BREAKS), HISTORY, st.booleans())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("documents")
    (path / "note.md").write_text("# Note\n\nIt rose.\n")
    return path


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session is looked up as often as in earnest, in less time."""
    monkeypatch.setattr(recovery, "_FIRST_WAIT", 0.02)
    monkeypatch.setattr(recovery, "_LONGEST_WAIT", 0.1)
    monkeypatch.setattr(recovery, "_SETTLING", 0.8)


async def play(
    server: LocalServer, chat: AnyChat, together: tuple[Fault, ...], history: list[Fault], prompt: str
) -> None:
    """One turn under these faults, and what must be true of it."""
    session = chat.session()
    await do(session.create())
    server.faults.clear()
    server.faults.script(together, *history)
    shown: list[Event] = []
    error: Exception | None = None
    stream = session.stream(prompt)
    try:
        async with entered(stream):
            async for event in some(stream):
                shown.append(event)
    except (TurnError, APIError, ProtocolError) as raised:
        error = raised
    posts = len(server.faults.prompts)
    server.faults.clear()

    turn = stream.turn
    text = said(shown)
    assert text == turn.text
    assert stream.is_closed
    # What the service has: waited for, as a turn may still run.
    stored = [kept for kept in await do(session.turns()) if kept.prompt == prompt]
    while stored and not stored[0].is_complete:
        stored = [kept for kept in await do(session.turns()) if kept.prompt == prompt]
    assert len(stored) <= 1
    refused = any(isinstance(fault, Refuse) and fault.status == 429 for fault in together)
    assert posts == (2 if refused else 1)
    if error is None:
        assert turn.is_complete
        assert (turn.text, turn.thinking) == (TEXT, THINKING)
        assert [run.status for run in turn.tool_runs] == ["completed", "completed"]
        assert len(stored) == 1
        assert turn.text == stored[0].text
    else:
        assert TEXT.startswith(turn.text)
        assert THINKING.startswith(turn.thinking)
        if isinstance(error, TurnError):
            assert error.turn == turn
        if isinstance(error, APIConnectionError | InternalServerError):
            # These say that the prompt did not land.
            assert stored == []
        elif isinstance(error, TurnError) and not isinstance(error, TurnOutcomeUnknown):
            assert len(stored) == 1


@given(
    st.fixed_dictionaries({name: st.sampled_from(values) for name, values in CHOICES.items()}),
    st.lists(SCHEDULES, min_size=4, max_size=4),
)
@settings(max_examples=max(12, settings().max_examples // 8), derandomize=True)
@pytest.mark.timeout(600)
def test_any_faults_under_any_switches_are_told_truly(
    folder: Path, switches: dict[str, Any], schedules: list[tuple[tuple[Fault, ...], list[Fault], bool]]
) -> None:
    with LocalServer(
        indexes={"idx-docs": folder}, agent=Speaker(), behaviour=Behaviour(**switches), faults=[]
    ) as server:
        timeouts = Timeouts(first_event=20, idle=20, recovery=3)

        async def run(client: LlamaCloudChat) -> None:
            for number, (together, history, is_async) in enumerate(schedules):
                await play(server, client.aio if is_async else client, together, history, f"question {number}")
            await client.aio.close()

        with server.client(timeouts=timeouts, max_event_bytes=60_000) as client:
            asyncio.run(run(client))
        server.faults.wait_until_left()
