"""Each fault is what it says, and a client is right about its turn under each: docs/faults.md has the same table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from chat_sessions import (
    APIStatusError,
    ConfigurationError,
    ConflictError,
    Event,
    InternalServerError,
    ProtocolError,
    RateLimitError,
    TextDelta,
    ThinkingDelta,
    Timeouts,
    TurnFailed,
    TurnInterrupted,
    TurnOutcomeUnknown,
    TurnStalled,
)
from chat_sessions.server import AgentTurn, Behaviour
from chat_sessions.testing import (
    BadUtf8,
    Compressed,
    Cut,
    Duplicate,
    ErrorWith200,
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
    MakeServer,
    NoLastBlankLine,
    NotJson,
    PartialHistory,
    ProxyBuffering,
    Redirect,
    Refuse,
    Reorder,
    Restart,
    Slow,
    SlowStart,
    Split,
    Stall,
    TrailAfterStop,
    WrongContentType,
)
from tests.faces import do, entered, every, said
from tests.faults.speaker import SHORT, Speaker

TEXT = "It rose é 😀 a bit.\n\nIt rose é then fell."
Script = Sequence[Fault | tuple[Fault, ...]]
# Long enough for a busy machine; the faults that wait for a deadline set their own.
PATIENT = Timeouts(first_event=20, idle=20, recovery=20)

WHOLE: dict[str, Script] = {
    "fine": [Fine()],
    "cut, clean": [Cut(at_byte=400, how="clean")],
    "cut, fin": [Cut(at_byte=400, how="fin")],
    "cut, reset": [Cut(at_byte=400, how="reset")],
    "cut before the first byte": [Cut(at_byte=0)],
    "cut before the stop": [Cut(before="stop", how="clean")],
    "cut behind the stop": [Cut(at_byte=10**9)],
    "cut in the first tool run": [Cut(before="tool_result", finish_first=True)],
    "split": [Split(1)],
    "split and cut": [(Split(3, 1), Cut(at_event=7))],
    "answer lost": [LostAnswer()],
    "answer lost, finished": [LostAnswer("fin", finish_first=True)],
    "answer lost in its head": [LostAnswer(at_byte=40)],
    "landed, 504": [Refuse(504, landed=True)],
    "refused for now": [Refuse(429, retry_after=0.01)],
    "slow start": [SlowStart(0.01)],
    "slow": [Slow(0.001)],
    "no last blank line": [NoLastBlankLine()],
    "stall that ends": [Stall(at_event=3, seconds=0.01)],
    "stall with keep-alives that ends": [Stall(at_byte=100, seconds=0.03, keep_alive=0.01)],
    "restart": [Restart(at_byte=300)],
    "buffered": [ProxyBuffering()],
    "http 1.0": [Http10()],
    "http 1.0, cut": [(Cut(at_event=5, how="fin"), Http10())],
    "compressed": [Compressed()],
    "CR": [LineEnds("\r")],
    "CR, split": [(LineEnds("\r"), Split(1))],
    "LF": [LineEnds("\n")],
    "tool event twice": [Duplicate(at_event=5)],
    "heartbeat comments": [Heartbeats()],
    "heartbeats as events": [Heartbeats("event")],
    "heartbeats as empty data": [Heartbeats("data")],
    "more after the stop": [TrailAfterStop()],
    "not JSON": [NotJson(at_event=2)],
    "history late": [Cut(at_byte=400, finish_first=True), LateHistory()],
    "history partial": [Cut(at_byte=400, finish_first=True), PartialHistory(events=3)],
    "history refused": [Cut(at_byte=400), Refuse(503, on="history")],
    "history lost": [Cut(at_byte=400), LostAnswer(on="history")],
    "history from a proxy's page, once": [Cut(at_byte=400), HtmlPage(502, on="history")],
}

RAISED: dict[str, tuple[Script, type[Exception], str]] = {
    "conflict": ([Refuse(409)], ConflictError, "409"),
    "refused for long": ([Refuse(429, retry_after=3600)], RateLimitError, "429"),
    "page with 200": ([HtmlPage()], ProtocolError, "text/html instead of an event stream"),
    "error with 200": ([ErrorWith200()], ProtocolError, "application/json instead of.*upstream connect error"),
    "page with 403": ([HtmlPage(403)], APIStatusError, "403"),
    "redirect": ([Redirect("http://127.0.0.1:1/")], APIStatusError, "307"),
    "wrong type": ([WrongContentType()], ProtocolError, "application/json instead of"),
    "no type": ([WrongContentType("")], ProtocolError, "no content type instead of"),
    "huge event": ([HugeEvent(5000)], ProtocolError, "more than 4,096 bytes"),
}


async def test_each_fault_that_leaves_the_turn_alone_leaves_the_answer_whole_and_is_told_once(
    chat_sessions_server: MakeServer,
) -> None:
    server = chat_sessions_server(agent=Speaker())
    with server.client(timeouts=PATIENT) as client:
        for name, script in WHOLE.items():
            for chat in (client, client.aio):
                server.faults.clear()
                session = chat.session()
                await do(session.create())
                server.faults.script(*script)
                async with entered(session.stream(name)) as stream:
                    events = await every(stream)
                shown = said(events)
                refused = any(isinstance(fault, Refuse) and fault.status == 429 for fault in script)
                expected = [name] * (2 if refused else 1)
                assert (name, stream.turn.text, shown) == (name, TEXT, TEXT)
                assert [run.status for run in stream.turn.tool_runs] == ["completed", "completed"], name
                assert [type(event) for event in stream.turn.events] == [
                    type(event) for event in SHORT if "delta" not in event.type
                ], name
                assert (name, list(server.faults.prompts)) == (name, expected)
                assert (name, server.faults.pending) == (name, ())
                assert [turn.prompt for turn in await do(session.turns())] == [name]
        await client.aio.close()


@pytest.mark.parametrize(("script", "error", "says"), RAISED.values(), ids=RAISED)
async def test_each_fault_that_no_client_can_mend_is_the_error_that_says_so(
    chat_sessions_server: MakeServer, script: Script, error: type[Exception], says: str
) -> None:
    server = chat_sessions_server(agent=Speaker())
    with server.client(timeouts=PATIENT, max_event_bytes=4096) as client:
        for chat in (client, client.aio):
            server.faults.clear()
            server.faults.script(*script)
            with pytest.raises(error, match=says):
                await do(chat.session().ask("q"))
            assert server.faults.prompts == ("q",)
            assert server.api_key not in str(error)
        await client.aio.close()


async def test_a_request_that_was_lost_is_not_sent_again_by_itself_and_can_be_by_hand(
    chat_sessions_server: MakeServer,
) -> None:
    server = chat_sessions_server(agent=Speaker(), faults=[LostRequest()])
    with server.client(timeouts=Timeouts(recovery=0.3)) as client:
        session = client.session()
        with pytest.raises(TurnOutcomeUnknown, match="look at the session"):
            session.ask("q")
        assert len(server.faults.prompts) == 1
        assert session.turns() == []
        assert session.ask("q").text == TEXT
    assert list(server.faults.prompts) == ["q", "q"]


@pytest.mark.parametrize(
    "fault",
    [
        SlowStart(),
        Stall(at_byte=100),
        Stall(at_byte=100, keep_alive=0.005),
        Stall(before="stop", keep_alive=0.005),
        Cut(at_byte=100, how="half_open"),
        LostAnswer("half_open"),
    ],
    ids=repr,
)
async def test_silence_ends_at_the_deadline_and_the_session_has_the_answer(
    chat_sessions_server: MakeServer, fault: Fault
) -> None:
    server = chat_sessions_server(agent=Speaker())
    # A prompt that has not reached a busy server by the first deadline would be lost.
    hasty = Timeouts(first_event=1, idle=0.1, recovery=20)
    with server.client(timeouts=PATIENT) as patient, server.client(timeouts=hasty) as client:
        for chat in (client, client.aio):
            server.faults.clear()
            # The short deadline is the turn's: a busy machine may take longer to create a session.
            held = patient.session()
            session_id = held.create()
            server.faults.script(fault)
            assert (await do(chat.session(session_id, index_ids=patient.index_ids).ask("q"))).text == TEXT
            assert server.faults.prompts == ("q",)
        await client.aio.close()
    server.faults.wait_until_left()


@pytest.mark.parametrize(
    ("fault", "error"), [(Stall(at_event=7), TurnStalled), (Cut(at_event=7, how="clean"), TurnInterrupted)]
)
async def test_a_turn_whose_end_nobody_knows_is_an_error_with_what_came(
    chat_sessions_server: MakeServer, fault: Fault, error: type[Exception]
) -> None:
    server = chat_sessions_server(agent=Speaker())
    with server.client(timeouts=Timeouts(idle=0.5, recovery=0)) as client:
        for chat in (client, client.aio):
            server.faults.clear()
            server.faults.script(fault)
            with pytest.raises(error) as caught:
                await do(chat.session().ask("q"))
            turn = caught.value.turn  # type: ignore[attr-defined]
            assert (turn.text, turn.thinking, turn.is_complete) == ("It ", "Let me look.", False)
        await client.aio.close()


def test_a_held_answer_goes_on_when_it_is_released(chat_sessions_server: MakeServer) -> None:
    server = chat_sessions_server(agent=Speaker(), faults=[Stall(before="tool_call")])
    seen: list[Event] = []
    with server.client(timeouts=PATIENT) as client, client.session().stream("q") as stream:
        for event in stream:
            seen.append(event)
            if event.type == "thinking":
                server.faults.wait_until_held()
                server.faults.release()
    assert stream.turn.text == TEXT
    assert server.faults.prompts == ("q",)


def test_a_turn_that_a_restart_killed_is_told_as_the_session_tells_it(chat_sessions_server: MakeServer) -> None:
    class Waiting(Speaker):
        async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
            async for event in super().run(turn):
                if event.type == "tool_result":
                    await asyncio.Event().wait()
                yield event

    server = chat_sessions_server(
        agent=Waiting(), behaviour=Behaviour(on_disconnect="cancel"), faults=[Restart(at_byte=200, refused=2)]
    )
    with server.client(timeouts=PATIENT) as client, pytest.raises(TurnFailed, match="disconnected") as caught:
        client.session().ask("q")
    assert caught.value.turn.thinking == "Let me look."
    assert server.faults.prompts == ("q",)


def test_an_event_that_comes_too_early_is_shown_in_the_order_in_which_it_came(
    chat_sessions_server: MakeServer,
) -> None:
    said = [TextDelta(content="one "), TextDelta(content="two")]
    server = chat_sessions_server(
        agent=Speaker(said), behaviour=Behaviour(finals="never"), faults=[Reorder(0), Reorder(2), Duplicate(0)]
    )
    with server.client(timeouts=PATIENT) as client:
        session = client.session()
        assert session.ask("q").text == "twoone "
        # The last event has no next one, and stays where it is.
        assert session.ask("q").text == "one two"
        # Words have no number on this wire: only a final can say that they came twice.
        assert session.ask("q").text == "one one two"


def test_a_byte_that_is_no_text_is_corrected_by_the_final(chat_sessions_server: MakeServer) -> None:
    server = chat_sessions_server(agent=Speaker(), behaviour=Behaviour(event_names="none"))
    place = len('data: {"type":"thinking_delta","content":"Le')
    with server.client(timeouts=PATIENT) as client:
        server.faults.script(BadUtf8(place))
        with client.session().stream("q") as stream:
            first = next(stream)
            assert first == ThinkingDelta(content="Le\ufffdt ")
            assert stream.result().thinking == "Let me look."


def test_a_fault_meets_the_requests_of_its_route_as_often_as_it_says(chat_sessions_server: MakeServer) -> None:
    server = chat_sessions_server(agent=Speaker(), faults=[Fine(times=2), Refuse(409, times=None)])
    with server.client(max_retries=0) as client:
        session = client.session()
        assert [session.ask("q").is_complete for _ in range(2)] == [True, True]
        for _ in range(3):
            with pytest.raises(ConflictError):
                session.ask("q")
        assert server.faults.pending == ()
        server.faults.clear()
        server.faults.script(Refuse(500, on="create"), Refuse(500, on="other"), Refuse(500, on="any"))
        for call in (client.create, lambda: client.get_summary(session.id or ""), session.turns):
            with pytest.raises(InternalServerError):
                call()
        assert [request.route for request in server.faults.requests] == ["create", "other", "history"]
        session.delete()


def test_what_the_proxy_passes_on_is_what_the_server_says(chat_sessions_server: MakeServer) -> None:
    server = chat_sessions_server(agent=Speaker())
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.head("/health").status_code == 200
        assert client.get("/api/v1/chat").status_code == 401
        answer = client.post("/health", content=iter([b"a", b"b"]))
        assert answer.status_code == 405
        assert server.faults.requests[-1].body == b"ab"
    server.faults.wait_until_left()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Cut(), "give one of"),
        (lambda: Cut(at_byte=1, at_event=1), "give one of"),
        (lambda: Cut(at_byte=-1), "the place is 0 or more"),
        (lambda: Split(0), "sizes are 1 or more"),
        (lambda: Slow(-1), "seconds is 0 or more"),
        (lambda: Refuse(200), "status is 400 to 599"),
        (lambda: LostAnswer("clean"), "no clean end"),
        (lambda: Fine(times=0), "times is 1 or more"),
        (lambda: Fine(on="prompt"), "on is one of turn"),  # type: ignore[arg-type]
    ],
)
def test_a_fault_that_cannot_be_is_refused_when_it_is_made(make: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        make()


def test_a_script_of_something_else_is_refused(chat_sessions_server: MakeServer) -> None:
    server = chat_sessions_server(agent=Speaker())
    for wrong in ((), ("cut",), (Fine(), LateHistory())):
        with pytest.raises(ConfigurationError, match=r"is not a fault|have the same on="):
            server.faults.script(wrong)  # type: ignore[arg-type]
    assert server.faults.pending == ()
