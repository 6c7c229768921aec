from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator

import pytest
from llama_index.core.base.llms.types import ChatResponse, ThinkingBlock

from chat_sessions import (
    ConfigurationError,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    TurnError,
    Usage,
)
from chat_sessions.llama_index import SessionChatEngine, StreamingSessionResponse
from chat_sessions.server import Behaviour
from tests.llama_index.checklist import proves
from tests.llama_index.conftest import Gate, Serve, Wired
from tests.llama_index.reading import (
    BOTH,
    STOP,
    TEXT,
    TOKENS,
    all_pieces,
    breaks_after,
    pieces,
    stream,
)


@proves(4)
@BOTH
async def test_the_pieces_are_the_text_deltas_byte_for_byte_without_thinking(serve: Serve, method: str) -> None:
    engine = SessionChatEngine(client=serve((ThinkingDelta(content="Hm."), Thinking(content="Hm."), *TEXT)))
    assert await all_pieces(await stream(engine, method), method) == list(TOKENS)


@proves(5)
@BOTH
@pytest.mark.parametrize("finals", ["after_deltas", "only", "never"])
async def test_text_is_shown_once_whatever_the_service_sends_of_it(serve: Serve, method: str, finals: str) -> None:
    answer = (Text(content="First. "), ThinkingDelta(content="Hm."), TextDelta(content="Sec"), Text(content="Second."))
    chat = serve((*answer, STOP), behaviour=Behaviour(finals=finals))  # type: ignore[arg-type]
    response = await stream(SessionChatEngine(client=chat), method)
    assert "".join(await all_pieces(response, method)) == "First. Second."
    assert response.response == "First. Second."


@proves(6)
@BOTH
async def test_the_first_token_comes_before_the_service_sends_the_second(serve: Serve, method: str) -> None:
    gate = Gate()
    engine = SessionChatEngine(client=serve((TextDelta(content="first"), gate, TextDelta(content=" second"), STOP)))
    read = pieces(await stream(engine, method), method)
    assert await anext(read) == "first"
    gate.open()
    assert [piece async for piece in read] == [" second"]


@proves(7)
@BOTH
async def test_waiting_on_a_silent_stream_costs_no_cpu(serve: Serve, method: str) -> None:
    # Not a matter of wall-clock time: a poller burns CPU however long the silence lasts.
    gate = Gate()
    engine = SessionChatEngine(client=serve((TextDelta(content="first"), gate, TextDelta(content=" second"), STOP)))
    read = pieces(await stream(engine, method), method)
    await anext(read)
    timer = threading.Timer(1.0, gate.open)
    timer.start()
    before = time.thread_time()
    assert await anext(read) == " second"
    spent = time.thread_time() - before
    timer.join()
    assert spent < 0.02


@proves(15)
@BOTH
async def test_every_reading_gives_the_same_tokens(serve: Serve, method: str) -> None:
    response = await stream(SessionChatEngine(client=serve(TEXT)), method)
    together = await asyncio.gather(*(all_pieces(response, "astream_chat") for _ in range(2)))
    assert together == [list(TOKENS)] * 2
    assert await all_pieces(response, "astream_chat") == list(TOKENS)
    assert list(response.response_gen) == list(TOKENS)


@proves(15)
def test_two_threads_read_the_same_tokens(serve: Serve) -> None:
    response = SessionChatEngine(client=serve(TEXT)).stream_chat("How much?")
    seen: list[list[str]] = [[], []]
    readers = [threading.Thread(target=lambda mine=mine: mine.extend(response.response_gen)) for mine in seen]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert seen == [list(TOKENS)] * 2


@proves(16)
async def test_async_code_reads_what_stream_chat_gave_and_the_loop_goes_on_meanwhile(serve: Serve) -> None:
    gate = Gate()
    engine = SessionChatEngine(client=serve((*TEXT[:1], gate, *TEXT[1:])))
    reader = asyncio.create_task(all_pieces(engine.stream_chat("How much?"), "astream_chat"))
    assert await asyncio.to_thread(gate.reached.wait, 10)
    gate.open()
    assert await reader == list(TOKENS)


@proves(16)
async def test_blocking_code_is_refused_an_async_answer_until_it_is_complete(serve: Serve) -> None:
    response = await SessionChatEngine(client=serve(TEXT)).astream_chat("How much?")
    with pytest.raises(ConfigurationError, match=r"response_gen would block .* async_response_gen\(\)"):
        _ = response.response_gen
    with pytest.raises(ConfigurationError, match=r"use|aclose\(\)"):
        response.close()
    assert response.chat_stream is None
    await response.adrain()
    assert list(response.response_gen) == list(TOKENS)


@proves(16)
def test_a_complete_async_answer_is_read_in_any_loop(serve: Serve) -> None:
    """A page's script may have a loop for each of its steps."""
    engine = SessionChatEngine(client=serve(TEXT))

    async def asked() -> StreamingSessionResponse:
        response = await engine.astream_chat("How much?")
        await response.adrain()
        return response

    async def read(response: StreamingSessionResponse) -> list[str]:
        return [token async for token in response.async_response_gen()]

    assert asyncio.run(read(asyncio.run(asked()))) == list(TOKENS)


def test_an_async_answer_is_not_read_in_another_loop(serve: Serve) -> None:
    engine = SessionChatEngine(client=serve(TEXT))

    async def read(response: StreamingSessionResponse) -> None:
        with pytest.raises(ConfigurationError, match="another event loop"):
            await response.adrain()

    async def both() -> None:
        response = await engine.astream_chat("How much?")
        await asyncio.to_thread(lambda: asyncio.run(read(response)))

    asyncio.run(both())


@proves(17)
async def test_the_stock_drain_task_completes_the_response(serve: Serve) -> None:
    response = await SessionChatEngine(client=serve(TEXT)).astream_chat("How much?")
    task = response.awrite_response_to_history_task
    assert task is not None
    assert task is response.awrite_response_to_history_task
    await task
    assert response.response == str(response) == "Revenue \nwas  84.2."
    assert response.write_response_to_history_thread is None


@proves(17)
async def test_the_stock_drain_task_fails_quietly_for_those_who_do_not_await_it(
    wired: Wired,
) -> None:
    response = await wired(breaks_after(2)).astream_chat("How much?")
    task = response.awrite_response_to_history_task
    assert task is not None
    await asyncio.wait([task])
    del task
    gc.collect()
    assert isinstance(response.exception, TurnError)


@proves(17)
def test_the_stock_drain_thread_completes_the_response(serve: Serve) -> None:
    response = SessionChatEngine(client=serve(TEXT)).stream_chat("How much?")
    thread = response.write_response_to_history_thread
    assert thread is not None
    thread.join()
    assert response.response == "Revenue \nwas  84.2."
    assert response.awrite_response_to_history_task is None


@proves(18)
@BOTH
async def test_the_chat_streams_give_thinking_and_text_and_at_last_the_usage(serve: Serve, method: str) -> None:
    script = (ThinkingDelta(content="Hm."), *TEXT[:2], ThinkingDelta(content="Aha."), *TEXT[2:])
    response = await stream(SessionChatEngine(client=serve(script)), method)
    steps: list[ChatResponse] = []
    if method == "stream_chat":
        assert response.chat_stream is not None
        steps.extend(response.chat_stream)
    else:
        assert response.achat_stream is not None
        steps.extend([step async for step in response.achat_stream])
    thinking = [step.additional_kwargs.get("thinking_delta") for step in steps]
    assert thinking == ["Hm.", None, None, "Aha.", None, None, None, None]
    assert [step.delta for step in steps] == ["", *TOKENS[:2], "", *TOKENS[2:], ""]
    assert steps[4].message.content == "".join(TOKENS[:3])
    last = steps[-1]
    assert last.raw == {
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        "session_id": response.session_id,
    }
    assert last.message.content == "Revenue \nwas  84.2."
    assert [block.content for block in last.message.blocks if isinstance(block, ThinkingBlock)] == ["Hm.Aha."]


@proves(19)
@BOTH
async def test_str_is_the_text_so_far_and_then_the_whole(serve: Serve, method: str) -> None:
    response = await stream(SessionChatEngine(client=serve(TEXT)), method)
    assert str(response) == ""
    assert response.is_function is False
    assert not response.is_done
    read = pieces(response, method)
    await anext(read)
    await anext(read)
    assert str(response) == " Revenue"
    assert [piece async for piece in read] == list(TOKENS[2:])
    assert str(response) == response.response == "Revenue \nwas  84.2."
    assert response.unformatted_response == "".join(TOKENS)
    assert response.is_done
    assert response.is_function_not_none_thread_event.is_set()


def test_looking_at_a_response_reads_nothing(serve: Serve) -> None:
    response = SessionChatEngine(client=serve(TEXT)).stream_chat("How much?")
    assert repr(response) == f"StreamingSessionResponse(session_id={response.session_id!r}, is_done=False)"
    assert len({response, response}) == 1
    assert response != SessionChatEngine(client=serve(TEXT)).stream_chat("How much?")
    assert str(response) == ""


@proves(20)
async def test_the_stock_printers_print_the_answer(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    engine = SessionChatEngine(client=serve(TEXT))
    engine.stream_chat("How much?").print_response_stream()
    assert capsys.readouterr().out == "".join(TOKENS)
    await (await engine.astream_chat("How much?")).aprint_response_stream()
    assert capsys.readouterr().out == "".join(TOKENS)


@proves(20)
@pytest.mark.parametrize("repl", ["chat_repl", "streaming_chat_repl"])
def test_the_stock_repls_talk_and_delete_no_session(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], repl: str
) -> None:
    chat = serve(TEXT)
    engine = SessionChatEngine(client=chat)
    engine.chat("Before.")
    lines: Iterator[str] = iter(["One?", "Two?", "exit"])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    getattr(engine, repl)()
    assert capsys.readouterr().out.count("was  84.2.") == 2
    talks = [[turn.prompt for turn in chat.session(item.session_id).turns()] for item in chat.list()]
    assert sorted(talks, key=len) == [["Before."], ["One?", "Two?"]]


async def test_a_whole_answer_is_not_had_of_one_that_was_closed(serve: Serve) -> None:
    engine = SessionChatEngine(client=serve(TEXT))
    assert engine.stream_chat("How much?").drain().response == "Revenue \nwas  84.2."
    assert (await (await engine.astream_chat("How much?")).adrain()).response == "Revenue \nwas  84.2."
    response = engine.stream_chat("How much?")
    next(response.response_gen)
    response.close()
    with pytest.raises(TurnError, match="closed before its turn ended"):
        response.drain()
    later = await engine.astream_chat("How much?")
    await later.aclose()
    with pytest.raises(TurnError, match="closed before its turn ended"):
        await later.adrain()


@BOTH
async def test_an_empty_answer_is_no_error(serve: Serve, method: str) -> None:
    response = await stream(SessionChatEngine(client=serve((Stop(usage=Usage(), is_error=False),))), method)
    assert await all_pieces(response, method) == []
    assert str(response) == ""
    assert response.is_done
