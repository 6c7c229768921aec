"""Turns of real agent servers, an old and a new one, through the sync and the async client."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from chat_sessions.core.errors import (
    APIConnectionError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    TurnFailed,
    TurnStalled,
)
from chat_sessions.core.events import TextDelta, UnknownEvent
from chat_sessions.openhands import ConfirmationRequest
from chat_sessions.session import Timeouts
from tests.faces import do, entered, every
from tests.openhands.servers.agent_server import AgentServer
from tests.openhands.servers.model_server import ModelServer
from tests.openhands.servers.proxy import Proxy

pytestmark = pytest.mark.openhands

_CONFIRMED: dict[str, Any] = {
    "tools": [{"name": "terminal", "params": {"terminal_type": "subprocess"}}],
    "conversation": {"confirmation_policy": {"kind": "AlwaysConfirm"}},
}
_HALF = "Half of "
_WHOLE = "Half of it, and the rest."


async def shown_text(stream: Any) -> str:
    """What a reader who prints the deltas has printed."""
    return "".join(event.content for event in await every(stream) if isinstance(event, TextDelta))


async def read_half(stream: Any) -> str:
    """Read until the answer is held."""
    shown = ""
    while shown != _HALF:
        event = await do(stream.__anext__() if hasattr(stream, "__anext__") else next(stream))
        shown += event.content if isinstance(event, TextDelta) else ""
    return shown


async def test_a_text_turn_is_shown_piece_by_piece_and_ends_with_its_usage(chat: Any) -> None:
    async with entered(chat.session().stream("TEXT please")) as stream:
        events = await every(stream)
    assert [e.content for e in events if isinstance(e, TextDelta)] == ["Plain ", "answer ", "in ", "pieces."]
    turn = stream.turn
    assert (turn.text, turn.thinking, turn.error) == ("Plain answer in pieces.", "No tool needed.", None)
    assert (turn.usage.input_tokens, turn.usage.output_tokens, turn.usage.turns) == (100, 20, 1)
    assert turn.usage.duration_ms > 0


async def test_a_model_that_does_not_stream_is_shown_whole(server: AgentServer, face: str) -> None:
    with server.client(llm={**server.llm, "stream": False}) as made:
        chat: Any = made if face == "sync" else made.aio
        async with entered(chat.session().stream("TEXT please")) as stream:
            assert await shown_text(stream) == "Plain answer in pieces."
        await do(chat.close())


@pytest.mark.parametrize(
    ("prompt", "runs", "text"),
    [
        ("TOOL", [("think", "completed")], "I will think.\n\nThe tool has answered."),
        ("PARALLEL", [("think", "completed"), ("think", "completed")], "The tool has answered."),
        ("FINISH", [], "Wrapping up. Finished by the tool."),
        ("BADTOOL", [("no_such_tool", "failed")], "The tool has answered."),
        ("BADARGS", [("think", "failed")], "The tool has answered."),
    ],
)
async def test_a_turn_is_the_same_live_and_in_the_history(
    chat: Any, prompt: str, runs: list[tuple[str, str]], text: str
) -> None:
    session = chat.session()
    turn = await do(session.ask(prompt))
    assert [(run.name, run.status) for run in turn.tool_runs] == runs
    assert turn.text == text
    assert await do(session.turns()) == [turn]


async def test_a_failing_model_fails_the_turn_and_the_session_goes_on(chat: Any) -> None:
    session = chat.session()
    with pytest.raises(TurnFailed, match="AuthenticationError"):
        await do(session.ask("FAIL401"))
    # The server sends the model the failed message together with the next one.
    turn = await do(session.ask("TEXT again"))
    assert turn.text == "Plain answer in pieces."
    assert [t.error is None for t in await do(session.turns())] == [False, True]


async def test_turns_of_a_session_follow_each_other(chat: Any) -> None:
    session = chat.session()
    for prompt in ("TEXT one", "TOOL two", "TEXT three"):
        await do(session.ask(prompt))
    assert [turn.prompt for turn in await do(session.turns())] == ["TEXT one", "TOOL two", "TEXT three"]
    again = chat.session(session.id)
    assert (await do(again.ask("TEXT four"))).text == "Plain answer in pieces."


async def test_an_answer_is_shown_while_the_model_still_writes_it(chat: Any, model: ModelServer) -> None:
    model.hold()
    async with entered(chat.session().stream("HELD")) as stream:
        assert await read_half(stream) == _HALF
        model.release()
        assert _HALF + await shown_text(stream) == _WHOLE


async def test_a_run_that_is_interrupted_ends_its_turn(chat: Any, server: AgentServer, model: ModelServer) -> None:
    model.hold()
    session = chat.session()
    async with entered(session.stream("HELD")) as stream:
        await read_half(stream)
        if server.is_new:
            assert await do(chat.interrupt(session.id)) == "interrupted"
            with pytest.raises(TurnFailed, match="interrupted"):
                await every(stream)
            assert stream.turn.text == _HALF
        else:
            # The old server answers when the model has: it can only pause the run then.
            asked = asyncio.create_task(asyncio.to_thread(server.client().interrupt, session.id))
            model.release()
            assert await asked == "paused"
            assert _HALF + await shown_text(stream) == _WHOLE
    model.release()
    assert (await do(session.ask("TEXT after"))).text == "Plain answer in pieces."


async def test_a_turn_that_was_left_is_waited_for_by_the_next(chat: Any, model: ModelServer) -> None:
    model.hold()
    session = chat.session()
    async with entered(session.stream("HELD")) as stream:
        await read_half(stream)
    assert stream.is_closed
    model.release()
    assert (await do(session.ask("TEXT next"))).text == "Plain answer in pieces."
    first, second = await do(session.turns())
    assert (first.text, second.text) == (_WHOLE, "Plain answer in pieces.")


async def test_a_run_that_does_not_end_refuses_the_next_message(
    server: AgentServer, face: str, model: ModelServer
) -> None:
    model.hold()
    with server.client() as patient:
        session_id = patient.create().session_id
    with server.client(timeouts=Timeouts(first_event=3.0, recovery=1.0), max_retries=0) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session(session_id, baseline=False)
        async with entered(session.stream("HELD")) as stream:
            await read_half(stream)
        for wait in (False, 0.5):
            with pytest.raises((ConflictError, APIConnectionError)) as caught:
                await do(session.ask("TEXT next", wait_if_busy=wait))
            if server.is_new:
                assert "still at work" in str(caught.value)
        model.release()
        await do(chat.close())


async def test_a_connection_cut_in_a_run_goes_on_where_it_stopped(
    server: AgentServer, face: str, model: ModelServer
) -> None:
    model.hold()
    with Proxy(server.port) as proxy, server.client(base_url=proxy.url) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        async with entered(session.stream("HELD")) as stream:
            await read_half(stream)
            # The model goes on when the client is back.
            proxy.on_request = lambda head: model.release() if b"/sockets/" in head else None
            proxy.cut()
            assert _HALF + await shown_text(stream) == _WHOLE
        assert stream.turn == (await do(session.turns()))[0]
        assert stream._recovery is None or not server.is_new
        await do(chat.close())


async def test_a_message_whose_answer_is_lost_is_found_and_not_sent_again(server: AgentServer, face: str) -> None:
    with server.client() as direct, Proxy(server.port) as proxy, server.client(base_url=proxy.url) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        await do(session.create())
        # The server has the message; its answer, and the websocket, are cut off, once.
        answers = iter([True])
        proxy.loses = lambda data: b'{"success":true}' in data and next(answers, False)
        turn = await do(session.ask("TEXT please"))
        assert next(answers, None) is None
        assert turn.text == "Plain answer in pieces."
        assert direct.session(session.id).turns() == [turn]
        await do(chat.close())


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_server_that_is_killed_or_stopped_in_a_run_and_restarted_fails_the_turn(
    server: AgentServer, model: ModelServer, how: str
) -> None:
    # Stopped in good order, the newer server interrupts its runs.
    why = "interrupted" if how == "stop" and server.is_new else "stopped during the run"
    model.hold()
    with server.client() as chat:
        sessions: list[Any] = [chat.session(), chat.aio.session()]
        async with entered(sessions[0].stream("HELD")) as first, entered(sessions[1].stream("HELD")) as second:
            for stream in (first, second):
                await read_half(stream)
            server.kill() if how == "kill" else server.stop()
            model.release()
            server.start()
            for stream in (first, second):
                with pytest.raises(TurnFailed, match=why):
                    await every(stream)
                assert stream.turn.text == _HALF
        for session in sessions:
            assert (await do(session.ask("TEXT after"))).text == "Plain answer in pieces."
        await chat.aio.close()


@pytest.mark.parametrize(("answer", "status"), [(True, "completed"), (False, "failed"), ("not today", "failed")])
async def test_an_action_that_waits_is_allowed_or_refused_by_the_callers_answer(
    server: AgentServer, face: str, answer: bool | str, status: str
) -> None:
    asked: list[ConfirmationRequest] = []

    def confirm(request: ConfirmationRequest) -> bool | str:
        asked.append(request)
        return answer

    with server.client(**_CONFIRMED, on_confirmation=confirm) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        turn = await do(session.ask("SHELL"))
        (action,) = asked[0].actions
        assert (action.name, action.arguments) == ("terminal", {"command": "echo from-the-shell"})
        assert turn.tool_runs[0].status == status
        assert ("from-the-shell" in str(turn.tool_runs[0].result)) is (answer is True)
        assert ("not today" in str(turn.tool_runs[0].result)) is (answer == "not today")
        assert turn.text.endswith("The tool has answered.")
        await do(chat.close())


async def test_an_async_answer_is_awaited(server: AgentServer, version: str) -> None:
    async def confirm(request: ConfirmationRequest) -> bool:
        await asyncio.sleep(0)
        return True

    with server.client(**_CONFIRMED, on_confirmation=confirm) as made:
        turn = await made.aio.session().ask("SHELL")
        assert turn.tool_runs[0].status == "completed"
        await made.aio.close()


def test_an_answer_that_must_be_awaited_is_refused_in_sync_code(server: AgentServer) -> None:
    async def confirm(request: ConfirmationRequest) -> bool:
        return True

    with (
        server.client(**_CONFIRMED, on_confirmation=confirm) as chat,
        pytest.raises(ConfigurationError, match="only the async client"),
    ):
        chat.session().ask("SHELL")


async def test_without_an_answer_the_turn_fails_and_says_what_waits(server: AgentServer, face: str) -> None:
    with server.client(**_CONFIRMED) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        with pytest.raises(TurnFailed, match="waits for a confirmation of terminal"):
            async with entered(session.stream("SHELL")) as stream:
                await every(stream)
        (request,) = [e for e in stream.turn.events if isinstance(e, UnknownEvent)]
        assert request.type == "confirmation_request"
        # A message now would let the action run without anybody having allowed it.
        with pytest.raises(ConflictError, match="waits for a confirmation"):
            await do(session.ask("TEXT"))
        await do(chat.respond_to_confirmation(session.id, accept=True))
        turn = await do(session.ask("TEXT"))
        assert turn.text == "Plain answer in pieces."
        first = (await do(session.turns()))[0]
        assert (first.tool_runs[0].status, first.error) == ("completed", None)
        await do(chat.close())


async def test_a_turn_of_an_unknown_conversation_is_a_404(chat: Any) -> None:
    with pytest.raises(NotFoundError):
        await do(chat.session("11111111-1111-4111-8111-111111111111").ask("TEXT"))


async def test_indexes_are_refused_before_anything_is_sent(chat: Any) -> None:
    with pytest.raises(ConfigurationError, match="no indexes"):
        chat.session().stream("TEXT", index_ids=["idx-1"])


async def test_a_model_that_falls_silent_stalls_the_turn(server: AgentServer, face: str, model: ModelServer) -> None:
    model.hold()
    with server.client(timeouts=Timeouts(idle=3.0, recovery=0.5)) as made:
        chat: Any = made if face == "sync" else made.aio
        with pytest.raises(TurnStalled, match="no event within 3 s") as caught:
            async with entered(chat.session().stream("HELD")) as stream:
                await every(stream)
        assert caught.value.turn.text == _HALF
        model.release()
        await do(chat.close())


async def test_a_reader_that_is_cancelled_closes_its_socket(server: AgentServer, model: ModelServer) -> None:
    model.hold()
    with server.client() as made:
        session = made.aio.session()
        stream = await session.stream("HELD").open()
        await read_half(stream)
        reader = asyncio.create_task(every(stream))
        await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert stream.is_closed
        model.release()
        assert (await session.ask("TEXT")).text == "Plain answer in pieces."
        await made.aio.close()


def test_a_stream_that_nobody_closes_ends_the_thread_of_its_socket(server: AgentServer, model: ModelServer) -> None:
    model.hold()
    before = set(threading.enumerate())
    with server.client() as chat:
        stream = chat.session().stream("HELD").open()
        threads = set(threading.enumerate()) - before
        assert threads
        del stream
        gc.collect()
        # Else the model's own thread is among them.
        model.release()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()


def test_a_stream_closed_from_another_thread_ends_there(server: AgentServer, model: ModelServer) -> None:
    model.hold()
    with server.client() as chat:
        stream = chat.session().stream("HELD").open()
        texts: list[str] = []
        reader = threading.Thread(target=lambda: texts.extend(stream.text_deltas()))
        reader.start()
        model.held.wait()
        stream.close()
        reader.join(10)
        assert not reader.is_alive()
        model.release()
