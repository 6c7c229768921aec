from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from llama_index.core import Settings
from llama_index.core.base.llms.types import AudioBlock, ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.callbacks import CallbackManager
from llama_index.core.chat_engine.types import AgentChatResponse, BaseChatEngine, StreamingAgentChatResponse

from chat_sessions import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    Stop,
    Text,
    TextDelta,
    TurnError,
    TurnFailed,
    UnprocessableEntityError,
    Usage,
)
from chat_sessions.llama_index import SessionChatEngine
from tests.llama_index.checklist import proves
from tests.llama_index.conftest import ANSWER, METHODS, Gate, ScriptedAgent, Serve, Wired, ask
from tests.llama_index.reading import until
from tests.wire_server import Connection, Request

PARTLY = (TextDelta(content="As far "), TextDelta(content="as I know"))
FAILED = (*PARTLY, Stop(usage=Usage(), is_error=True, error="the index is gone"))


@proves(1)
def test_an_engine_is_a_base_chat_engine_with_a_callback_manager(serve: Serve) -> None:
    chat = serve()
    manager = CallbackManager([])
    assert isinstance(SessionChatEngine(client=chat), BaseChatEngine)
    assert SessionChatEngine(client=chat).callback_manager is Settings.callback_manager
    assert SessionChatEngine(client=chat, callback_manager=manager).callback_manager is manager
    assert SessionChatEngine(client=chat).session_id is None


@pytest.mark.parametrize("message", [None, 7, ["How much?"], " ", "x" * 1001])
def test_a_message_that_is_no_prompt_is_refused(engine: SessionChatEngine, message: Any) -> None:
    with pytest.raises(ConfigurationError, match="prompt"):
        engine.stream_chat(message)
    assert engine.session_id is None


def test_an_engine_over_a_held_session_and_the_session_know_the_same_id(serve: Serve) -> None:
    session = serve().session()
    engine = SessionChatEngine.from_session(session)
    asyncio.run(engine.achat("How much?"))
    assert session.id is not None
    assert engine.session_id == session.id
    assert [turn.prompt for turn in session.turns()] == ["How much?"]


@proves(2)
@pytest.mark.parametrize("method", ["chat", "achat"])
async def test_chat_gives_the_whole_answer_with_its_session_and_usage(engine: SessionChatEngine, method: str) -> None:
    response = await ask(engine, method)
    assert isinstance(response, AgentChatResponse)
    assert str(response) == response.response == "Revenue was 84.2."
    assert response.metadata == {
        "session_id": engine.session_id,
        "usage": {"input_tokens": 11, "output_tokens": 7, "turns": 2, "duration_ms": 5.0},
        "thinking": "I look it up.",
        "skipped_index_ids": [],
    }


@proves(3)
@pytest.mark.parametrize("method", ["stream_chat", "astream_chat"])
async def test_streaming_gives_a_stock_streaming_response(engine: SessionChatEngine, method: str) -> None:
    response = await ask(engine, method)
    assert isinstance(response, StreamingAgentChatResponse)
    assert response.response == "Revenue was 84.2."


@proves(12)
@pytest.mark.parametrize("method", METHODS)
async def test_a_turn_that_the_service_failed_raises_with_the_partial_text(serve: Serve, method: str) -> None:
    engine = SessionChatEngine(client=serve(FAILED))
    with pytest.raises(TurnFailed, match="the index is gone") as caught:
        await ask(engine, method)
    assert caught.value.turn.text == "As far as I know"
    assert caught.value.session_id == engine.session_id


@proves(12)
@pytest.mark.parametrize("method", METHODS)
async def test_a_stream_that_ends_without_a_stop_raises_with_the_partial_text(wired: Wired, method: str) -> None:
    def respond(_: Request, wire: Connection) -> None:
        wire.start_stream()
        wire.events(*PARTLY)
        wire.end_stream()

    with pytest.raises(TurnError) as caught:
        await ask(wired(respond), method)
    assert caught.value.turn.text == "As far as I know"


@proves(21)
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, AuthenticationError),
        (404, NotFoundError),
        (409, ConflictError),
        (422, UnprocessableEntityError),
    ],
)
@pytest.mark.parametrize("method", ["stream_chat", "astream_chat"])
async def test_a_refusal_is_raised_by_the_call_and_not_by_the_first_token(
    wired: Wired, method: str, status: int, error: type[Exception]
) -> None:
    engine = wired(lambda _, wire: wire.respond(status, {"detail": "no"}))

    async def call() -> None:
        if method == "stream_chat":
            engine.stream_chat("How much?")
        else:
            await engine.astream_chat("How much?")

    with pytest.raises(error):
        await call()


def test_a_prompt_that_the_service_would_refuse_is_refused_at_once(engine: SessionChatEngine) -> None:
    with pytest.raises(ConfigurationError, match="empty"):
        engine.chat("")
    assert engine.session_id is None


@proves(23)
@pytest.mark.parametrize("method", METHODS)
async def test_a_history_of_none_goes_on_and_an_empty_one_begins_a_new_session(serve: Serve, method: str) -> None:
    engine = SessionChatEngine(client=serve())
    await ask(engine, method)
    first = engine.session_id
    await _call(engine, method, None)
    assert engine.session_id == first
    await _call(engine, method, [])
    assert engine.session_id != first
    assert len(engine.session.turns()) == 1


@proves(23)
@pytest.mark.parametrize("method", METHODS)
async def test_the_sessions_own_history_is_taken_as_a_user_interface_keeps_it(serve: Serve, method: str) -> None:
    engine = SessionChatEngine(client=serve())
    await ask(engine, method)
    kept = [
        ChatMessage(role=MessageRole.USER, content=" How much? "),
        ChatMessage(role=MessageRole.ASSISTANT, content="Revenue was 84.2.\n"),
    ]
    await _call(engine, method, kept)
    await _call(engine, method, await engine.achat_history())
    assert len(engine.session.turns()) == 3


@proves(23)
@pytest.mark.parametrize("method", METHODS)
async def test_another_history_is_refused_before_anything_is_sent(serve: Serve, method: str) -> None:
    agent = ScriptedAgent()
    engine = SessionChatEngine(client=serve(agent=agent))
    await ask(engine, method)
    for given in (
        [ChatMessage(role=MessageRole.USER, content="Something else")],
        [ChatMessage(role=MessageRole.SYSTEM, content="Be brief."), *await engine.achat_history()],
    ):
        with pytest.raises(ValueError, match="chat_history differs"):
            await _call(engine, method, given)
    assert len(agent.prompts) == 1


@proves(23)
def test_a_history_given_to_a_session_that_does_not_exist_yet_is_refused_in_words_that_fit(serve: Serve) -> None:
    other = [ChatMessage(role=MessageRole.USER, content="Something else")]
    with pytest.raises(ValueError, match="differs from what this session holds, which is new and empty"):
        SessionChatEngine(client=serve()).chat("How much?", other)


@proves(23)
def test_another_history_may_be_set_aside_with_a_warning_or_in_silence(serve: Serve) -> None:
    other = [ChatMessage(role=MessageRole.USER, content="Something else")]
    chat = serve()
    with pytest.warns(UserWarning, match="session's own history is used") as caught:
        SessionChatEngine(client=chat, on_chat_history="warn").chat("How much?", other)
    assert caught[0].filename == __file__
    assert SessionChatEngine(client=chat, on_chat_history="ignore").chat("How much?", other).response
    with pytest.raises(ConfigurationError, match="on_chat_history"):
        SessionChatEngine(client=chat, on_chat_history="drop")  # type: ignore[arg-type]


async def _call(engine: SessionChatEngine, method: str, history: list[ChatMessage] | None) -> None:
    if method == "chat":
        engine.chat("And then?", history)
    elif method == "achat":
        await engine.achat("And then?", history)
    elif method == "stream_chat":
        engine.stream_chat("And then?", history).drain()
    else:
        await (await engine.astream_chat("And then?", history)).adrain()


@proves(24)
def test_reset_begins_another_session_and_leaves_the_old_one(serve: Serve) -> None:
    chat = serve()
    engine = SessionChatEngine(client=chat)
    engine.chat("How much?")
    old = engine.session_id
    assert old is not None
    engine.reset()
    assert engine.chat_history == []
    engine.chat("And now?")
    assert engine.session_id != old
    assert [turn.prompt for turn in chat.session(old).turns()] == ["How much?"]


@proves(24)
async def test_a_new_session_asks_the_indexes_of_the_one_before(serve: Serve) -> None:
    chat = serve(with_indexes=False)
    session_id = chat.create(index_ids=["idx"]).session_id
    engine = SessionChatEngine(client=chat, session_id=session_id)
    engine.reset()
    engine.chat("How much?")
    assert engine.session.summary().index_ids == ["idx"]
    other = SessionChatEngine(client=chat, session_id=session_id)
    await other.achat("How much?", [])
    assert other.session.summary().index_ids == ["idx"]


@proves(25)
@pytest.mark.parametrize("method", METHODS)
async def test_the_history_is_read_from_the_session_in_new_objects(serve: Serve, method: str) -> None:
    engine = SessionChatEngine(client=serve())
    assert engine.chat_history == await engine.achat_history() == []
    await ask(engine, method)
    first = engine.chat_history
    assert [message.role.value for message in first] == ["user", "assistant", "tool", "assistant"]
    first[0].blocks.clear()
    second = await engine.achat_history()
    assert second[0].content == "How much?"
    assert second == engine.chat_history


@proves(25)
def test_the_history_after_an_abandoned_turn_is_what_the_session_holds(serve: Serve) -> None:
    gate = Gate()
    agent = ScriptedAgent((TextDelta(content="Revenue "), gate, TextDelta(content="was 84.2.")))
    engine = SessionChatEngine(client=serve(agent=agent))
    with engine.stream_chat("How much?") as response:
        assert next(response.response_gen) == "Revenue "
    gate.open()
    assert agent.ended.wait(10)
    # The service finished the turn although nobody listened.
    until(lambda: engine.session.turns()[0].is_complete)
    assert [message.content for message in engine.chat_history] == ["How much?", "Revenue was 84.2."]


@proves(26)
def test_two_engines_streamed_at_once_do_not_mix(serve: Serve) -> None:
    one = SessionChatEngine(client=serve((TextDelta(content="a"), TextDelta(content="b"))))
    other = SessionChatEngine(client=serve((TextDelta(content="x"), TextDelta(content="y"))))
    first, second = one.stream_chat("One?"), other.stream_chat("Two?")
    pieces = list(zip(first.response_gen, second.response_gen, strict=True))
    assert pieces == [("a", "x"), ("b", "y")]
    assert first.metadata["session_id"] == one.session_id != other.session_id == second.metadata["session_id"]


@proves(26)
async def test_a_second_turn_on_a_session_waits_for_the_first(serve: Serve) -> None:
    agent = ScriptedAgent()
    engine = SessionChatEngine(client=serve(agent=agent))
    first = await engine.astream_chat("One?")
    waiting = asyncio.create_task(engine.achat("Two?"))
    pieces = [piece async for piece in first.async_response_gen()]
    assert "".join(pieces) == "Revenue was 84.2."
    assert (await waiting).response == "Revenue was 84.2."
    assert agent.prompts == ["One?", "Two?"]
    assert [turn.prompt for turn in engine.session.turns()] == ["One?", "Two?"]


@proves(26)
def test_a_second_turn_that_could_never_begin_is_refused(engine: SessionChatEngine) -> None:
    with engine.stream_chat("One?"), pytest.raises(ConfigurationError, match="open turn"):
        engine.chat("Two?")


@proves(26)
async def test_first_turns_at_once_of_both_kinds_create_one_session(serve: Serve) -> None:
    chat = serve()
    engine = SessionChatEngine(client=chat)
    await asyncio.gather(engine.achat("One?"), asyncio.to_thread(engine.chat, "Two?"), engine.achat("Three?"))
    assert len(list(chat.list())) == 1
    assert sorted(str(turn.prompt) for turn in engine.session.turns()) == ["One?", "Three?", "Two?"]


@proves(27)
def test_an_engine_works_in_a_thread_that_has_no_event_loop(engine: SessionChatEngine) -> None:
    answers: list[str] = []
    thread = threading.Thread(
        target=lambda: answers.extend([str(engine.chat("How much?")), "".join(engine.stream_chat("?").response_gen)])
    )
    thread.start()
    thread.join()
    assert answers == ["Revenue was 84.2."] * 2


@proves(27)
async def test_the_sync_methods_work_inside_a_running_loop(engine: SessionChatEngine) -> None:
    assert str(engine.chat("How much?")) == "Revenue was 84.2."
    assert "".join(engine.stream_chat("How much?").response_gen) == "Revenue was 84.2."


@proves(27)
def test_an_engine_works_under_a_new_event_loop_each_time(engine: SessionChatEngine) -> None:
    for _ in range(3):
        assert str(asyncio.run(engine.achat("How much?"))) == "Revenue was 84.2."
    assert len(engine.session.turns()) == 3


@proves(28)
@pytest.mark.parametrize("method", METHODS)
async def test_unknown_events_and_fields_and_a_missing_type_are_tolerated(wired: Wired, method: str) -> None:
    def respond(_: Request, wire: Connection) -> None:
        wire.start_stream()
        wire.chunk(b'data: {"type": "mood", "value": 1}\n\n')
        wire.chunk(b'data: {"type": null, "call_id": "c", "name": "t", "arguments": {}}\n\n')
        wire.chunk(b'data: {"call_id": "c", "name": "t", "result": [1, null], "took_ms": 3}\n\n')
        wire.chunk(b'data: {"type": "text_delta", "content": "Yes.", "index": 0}\n\n')
        wire.events(Stop(usage=Usage(turns=None, duration_ms=None), is_error=False))
        wire.end_stream()

    response = await ask(wired(respond), method)
    assert str(response) == "Yes."
    assert [source.content for source in response.sources] == ["[1, null]"]


@pytest.mark.parametrize("method", METHODS)
async def test_a_final_that_corrects_its_deltas_is_what_is_stored(wired: Wired, method: str) -> None:
    def respond(_: Request, wire: Connection) -> None:
        wire.start_stream()
        wire.events(TextDelta(content="42"), Text(content="43"), Stop(usage=Usage(), is_error=False))
        wire.end_stream()

    assert (await ask(wired(respond), method)).response == "43"


def test_the_answer_of_the_tests_is_one_turn() -> None:
    assert isinstance(ANSWER[-1], Stop)


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (ImageBlock(), "an image of the message cannot be read: No valid source"),
        (AudioBlock(audio=b"x"), "the message holds audio too"),
        (ImageBlock(image=b"\x89PNG\r\n\x1a\n"), "takes text only, and the prompt has an image"),
    ],
)
def test_a_message_whose_blocks_cannot_be_sent_is_refused(engine: SessionChatEngine, block: Any, said: str) -> None:
    message = ChatMessage(role="user", blocks=[TextBlock(text="How much?"), block])
    with pytest.raises(ConfigurationError, match=said):
        engine.stream_chat(message)
    assert engine.session_id is None
