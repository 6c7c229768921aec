"""How the reading of an answer ends: by leaving, by cancelling, by forgetting, by an error."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator

import pytest

from chat_sessions import (
    TextDelta,
    Timeouts,
    TurnError,
    TurnStalled,
)
from chat_sessions.core.events import Event
from chat_sessions.llama_index import SessionChatEngine, StreamingSessionResponse
from chat_sessions.server import AgentTurn
from tests.llama_index.checklist import proves
from tests.llama_index.conftest import KEY, Gate, ScriptedAgent, Serve, Wired, ask
from tests.llama_index.reading import (
    BOTH,
    CANCELS,
    TEXT,
    TOKENS,
    all_pieces,
    breaks_after,
    live_threads,
    pieces,
    read_until_error,
    stream,
    until,
)


class AnswersAgain(ScriptedAgent):
    """Never ends its answer to the first question, even if that was cancelled before it was heard."""

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        self.scripts = [TEXT if turn.prompt == "Again?" else (*TEXT[:3], Gate())]
        async for event in super().run(turn):
            yield event


@proves(8)
@BOTH
@pytest.mark.parametrize("way", ["close", "break", "with"])
async def test_leaving_early_closes_the_socket_and_leaves_no_thread_and_no_task(
    serve: Serve, method: str, way: str
) -> None:
    gate = Gate()
    script = (*TEXT[:3], gate, *TEXT[3:])
    agent = ScriptedAgent(script)
    engine = SessionChatEngine(client=serve(agent=agent, behaviour=CANCELS))
    response = await stream(engine, method)
    threads, tasks = live_threads(), asyncio.all_tasks()
    read = pieces(response, method)
    seen = [await anext(read) for _ in range(3)]
    if way == "break":
        await read.aclose()  # type: ignore[attr-defined]
    elif way == "with" and method == "stream_chat":
        with response:
            pass
    elif way == "with":
        async with response:
            pass
    elif method == "stream_chat":
        response.close()
        response.close()
    else:
        await response.aclose()
        await response.aclose()
    assert await asyncio.to_thread(agent.ended.wait, 10)
    # A generator that was left inside another one is closed by the event loop, in a task.
    if closing := asyncio.all_tasks() - tasks:
        assert not (await asyncio.wait(closing, timeout=10))[1]
    assert seen == list(TOKENS[:3])
    assert response.is_done
    assert response.exception is None
    assert not response.turn.is_complete
    assert live_threads() <= threads
    # What was read may be read again; the session is free for the next turn.
    assert await all_pieces(response, method) == seen
    agent.scripts = [TEXT]
    assert str(await ask(engine, "achat")) == "Revenue \nwas  84.2."


@proves(8)
async def test_a_bare_break_closes_the_socket(serve: Serve) -> None:
    agent = ScriptedAgent((*TEXT[:3], Gate()))
    engine = SessionChatEngine(client=serve(agent=agent, behaviour=CANCELS))
    response = engine.stream_chat("How much?")
    for _ in response.response_gen:
        break
    assert agent.ended.wait(10)
    agent.ended.clear()
    # The agent is the first to know: until the stop is stored, the server is busy with the session.
    until(lambda: engine.session.turns()[-1].is_complete)
    async for _ in (await engine.astream_chat("How much?")).async_response_gen():
        break
    assert await asyncio.to_thread(agent.ended.wait, 10)


@proves(8)
def test_close_from_another_thread_ends_a_reader_that_waits(serve: Serve) -> None:
    gate = Gate()
    agent = ScriptedAgent((TextDelta(content="first"), gate))
    engine = SessionChatEngine(client=serve(agent=agent, behaviour=CANCELS))
    response = engine.stream_chat("How much?")
    seen: list[str] = []
    has_first = threading.Event()

    def read() -> None:
        for piece in response.response_gen:
            seen.append(piece)
            has_first.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert has_first.wait(10)
    response.close()
    reader.join(10)
    assert not reader.is_alive()
    assert seen == ["first"]


@proves(8)
def test_one_of_two_readers_may_leave_without_cutting_the_other(serve: Serve) -> None:
    response = SessionChatEngine(client=serve(TEXT)).stream_chat("How much?")
    leaving, staying = response.response_gen, response.response_gen
    assert next(leaving) == next(staying) == TOKENS[0]
    leaving.close()
    assert list(staying) == list(TOKENS[1:])


@proves(9)
async def test_cancelling_the_reader_closes_the_socket(serve: Serve) -> None:
    gate = Gate()
    agent = ScriptedAgent((TextDelta(content="first"), gate))
    engine = SessionChatEngine(client=serve(agent=agent, behaviour=CANCELS))
    response = await engine.astream_chat("How much?")
    reader = asyncio.create_task(all_pieces(response, "astream_chat"))
    assert await asyncio.to_thread(gate.reached.wait, 10)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await asyncio.to_thread(agent.ended.wait, 10)
    assert response.is_done


@proves(9)
async def test_cancelling_achat_closes_the_socket(serve: Serve) -> None:
    gate = Gate()
    agent = ScriptedAgent((TextDelta(content="first"), gate))
    engine = SessionChatEngine(client=serve(agent=agent, behaviour=CANCELS))
    task = asyncio.create_task(engine.achat("How much?"))
    assert await asyncio.to_thread(gate.reached.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(agent.ended.wait, 10)


@proves(9)
def test_ctrl_c_closes_the_socket(serve: Serve) -> None:
    gate = Gate()
    agent = ScriptedAgent((TextDelta(content="first"), gate))
    engine = SessionChatEngine(client=serve(agent=agent, behaviour=CANCELS))
    main = threading.get_ident()

    def press() -> None:
        assert gate.reached.wait(10)
        signal.pthread_kill(main, signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        engine.chat("How much?")
    presser.join()
    assert agent.ended.wait(10)


@proves(10)
@BOTH
async def test_a_response_dropped_unread_closes_its_socket(serve: Serve, method: str) -> None:
    gate = Gate()
    agent = ScriptedAgent((*TEXT[:3], gate))
    engine = SessionChatEngine(client=serve(agent=agent, behaviour=CANCELS))
    response = await stream(engine, method)
    assert await asyncio.to_thread(gate.reached.wait, 10)
    del response
    gc.collect()
    assert await asyncio.to_thread(agent.ended.wait, 10)
    until(lambda: engine.session.turns()[-1].is_complete)
    # And the session is free again.
    agent.scripts = [TEXT]
    assert str(await engine.achat("How much?")) == "Revenue \nwas  84.2."


@proves(10)
@BOTH
@pytest.mark.parametrize("way", ["unread", "break"])
async def test_whoever_drops_a_response_may_ask_again_at_once(serve: Serve, method: str, way: str) -> None:
    engine = SessionChatEngine(client=serve(agent=AnswersAgain(), behaviour=CANCELS))
    response = await stream(engine, method)
    if way == "break" and method == "stream_chat":
        for _ in response.response_gen:
            break
    elif way == "break":
        async for _ in response.async_response_gen():
            break
    del response
    assert str(await engine.achat("Again?")) == "Revenue \nwas  84.2."


@proves(10)
def test_blocking_code_that_drops_a_response_may_ask_again_at_once(serve: Serve) -> None:
    engine = SessionChatEngine(client=serve(agent=AnswersAgain(), behaviour=CANCELS))
    engine.stream_chat("How much?")
    assert str(engine.chat("Again?")) == "Revenue \nwas  84.2."


@proves(10)
def test_a_forgotten_stream_does_not_hold_up_the_end_of_the_program(serve: Serve) -> None:
    chat = serve((TextDelta(content="first"), Gate()))
    program = """
from chat_sessions import LlamaCloudChat
from chat_sessions.llama_index import SessionChatEngine, StreamingSessionResponse
chat = LlamaCloudChat(index_ids=["idx"])
response = SessionChatEngine(client=chat).stream_chat("How much?")
print(next(response.response_gen))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", program],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "LLAMA_CLOUD_API_KEY": KEY, "LLAMA_CLOUD_BASE_URL": chat.base_url},
    )
    assert (done.returncode, done.stdout) == (0, "first\n")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@proves(11)
@BOTH
@pytest.mark.parametrize("count", [0, 1, 5])
async def test_an_error_comes_after_every_token_before_it(wired: Wired, method: str, count: int) -> None:
    response = await stream(wired(breaks_after(count)), method)
    seen, error = await read_until_error(response, method)
    assert seen == list(TOKENS[:count])
    assert isinstance(error, TurnError)
    assert error.turn.text == "".join(seen)
    assert response.is_done
    assert response.exception is error
    # Those who read later get the same.
    assert await read_until_error(response, method) == (seen, error)


@proves(13)
async def test_a_reader_that_is_interrupted_leaves_no_other_reader_hanging(serve: Serve) -> None:
    gate = Gate()
    engine = SessionChatEngine(client=serve((TextDelta(content="first"), gate)))
    response = await engine.astream_chat("How much?")
    one = asyncio.create_task(all_pieces(response, "astream_chat"))
    other = asyncio.create_task(all_pieces(response, "astream_chat"))
    assert await asyncio.to_thread(gate.reached.wait, 10)
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    with pytest.raises(TurnError, match="cut short: its reader got CancelledError"):
        await other
    assert isinstance(response.exception, TurnError)


@proves(13)
async def test_an_interruption_in_the_transport_ends_every_reader(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = SessionChatEngine(client=serve(TEXT)).stream_chat("How much?")
    read, other = response.response_gen, response.response_gen
    next(read)

    def interrupt(self: object) -> Event | None:
        raise KeyboardInterrupt

    monkeypatch.setattr("chat_sessions.http.event_response.EventResponse.ready_event", interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(read)
    assert next(other) == TOKENS[0]
    with pytest.raises(TurnError, match="KeyboardInterrupt"):
        next(other)


@proves(14)
@BOTH
async def test_a_silent_service_raises_at_the_idle_deadline(serve: Serve, method: str) -> None:
    chat = serve((TextDelta(content="first"), Gate()), timeouts=Timeouts(idle=0.2, recovery=0))
    response = await stream(SessionChatEngine(client=chat), method)
    seen, error = await read_until_error(response, method)
    assert seen == ["first"]
    assert isinstance(error, TurnStalled)


@proves(9, 16)
async def test_cancelling_async_code_that_reads_a_sync_answer_closes_the_socket(serve: Serve) -> None:
    gate = Gate()
    agent = ScriptedAgent((TextDelta(content="first"), gate))
    engine = SessionChatEngine(client=serve(agent=agent, behaviour=CANCELS))
    response = engine.stream_chat("How much?")
    reader = asyncio.create_task(all_pieces(response, "astream_chat"))
    assert await asyncio.to_thread(gate.reached.wait, 10)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert await asyncio.to_thread(agent.ended.wait, 10)
    assert response.is_done


def test_an_answer_that_is_left_when_its_loop_ends_is_closed_without_a_word(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    agent = ScriptedAgent((TextDelta(content="first"), Gate()))
    engine = SessionChatEngine(client=serve(agent=agent, behaviour=CANCELS))
    kept: list[object] = []

    async def leave() -> None:
        response = await engine.astream_chat("How much?")
        read = response.async_response_gen()
        kept.extend((response, read))
        assert await anext(read) == "first"

    asyncio.run(leave())
    assert agent.ended.wait(10)
    response = kept[0]
    assert isinstance(response, StreamingSessionResponse)
    assert response.is_done
    assert not [record for record in caplog.records if record.name == "asyncio" and record.levelname == "ERROR"]
