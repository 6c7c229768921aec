"""One contract for every backend: what holds of a session holds wherever it is kept.

The LlamaCloud Chat API is the local server's, with an agent that says what the scripted model says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chat_sessions import LlamaCloudChat, LocalServer
from chat_sessions.core.errors import ConfigurationError, NotFoundError, TurnFailed
from chat_sessions.core.events import Event, Stop, Text, TextDelta, ThinkingDelta, ToolCall, ToolResult
from chat_sessions.core.models import SessionSummary, TitledSummary, Usage
from chat_sessions.core.turn import replay
from chat_sessions.langchain import SessionChatModel, events_to_messages
from chat_sessions.llama_index import SessionChatEngine
from chat_sessions.server import AgentTurn
from chat_sessions.session import Timeouts
from tests.faces import do, entered, every, first, some
from tests.openhands.servers.agent_server import AgentServer
from tests.openhands.servers.model_server import ModelServer
from tests.openhands.servers.proxy import Proxy

pytestmark = pytest.mark.openhands

_TIMEOUTS = Timeouts(connect=5, first_event=20, idle=20, recovery=20)
_UNKNOWN = "11111111-1111-4111-8111-111111111111"


class ScriptedAgent:
    """Says what the scripted model and its tools say."""

    def __init__(self, model: ModelServer) -> None:
        self._model = model

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        word = turn.prompt.split()[0]
        usage = Usage(input_tokens=100, output_tokens=20, turns=1, duration_ms=1.0)
        if word == "FAIL401":
            yield Stop(usage=usage, is_error=True, error="AuthenticationError")
            return
        if word == "TOOL":
            yield TextDelta(content="I will think.")
            yield ToolCall(call_id="call-1", name="think", arguments={"thought": "one"})
            yield ToolResult(call_id="call-1", name="think", result={"content": "logged"})
            yield Text(content="The tool has answered.")
        elif word == "PARALLEL":
            for call_id, thought in (("call-1", "one"), ("call-2", "two")):
                yield ToolCall(call_id=call_id, name="think", arguments={"thought": thought})
            for call_id in ("call-1", "call-2"):
                yield ToolResult(call_id=call_id, name="think", result={"content": "logged"})
            yield Text(content="The tool has answered.")
        elif word == "BADTOOL":
            yield ToolCall(call_id="call-1", name="no_such_tool", arguments={"x": 1})
            yield ToolResult(call_id="call-1", name="no_such_tool", result={"is_error": True, "error": "unknown"})
            yield Text(content="The tool has answered.")
        elif word == "HELD":
            for piece in ("Half ", "of "):
                yield TextDelta(content=piece)
            await asyncio.to_thread(self._model.wait)
            for piece in ("it, ", "and ", "the ", "rest."):
                yield TextDelta(content=piece)
        else:
            yield ThinkingDelta(content="No tool needed.")
            for piece in ("Plain ", "answer ", "in ", "pieces."):
                yield TextDelta(content=piece)
        yield Stop(usage=usage, is_error=False)


@dataclass(frozen=True)
class Service:
    """A service, and a client of it by the address given, else by its own."""

    port: int
    client: Callable[[str | None], Any]


@pytest.fixture
def place(
    service: str, version: str, request: pytest.FixtureRequest, tmp_path: Path, model: ModelServer
) -> Iterator[Service]:
    if service == "openhands":
        server: AgentServer = request.getfixturevalue("servers")(version)
        yield Service(server.port, lambda url: server.client(base_url=url or server.url))
        return
    notes = tmp_path / "notes.md"
    notes.write_text("# Notes\n\nA document.\n", "utf-8")
    with LocalServer(indexes={"idx-notes": notes}, agent=ScriptedAgent(model)) as local:
        yield Service(
            int(local.url.rpartition(":")[2]),
            lambda url: LlamaCloudChat(
                api_key=local.api_key, base_url=url or local.url, index_ids=["idx-notes"], timeouts=_TIMEOUTS
            ),
        )


@asynccontextmanager
async def opened(place: Service, face: str, url: str | None = None) -> AsyncIterator[Any]:
    """A client, sync or async."""
    with place.client(url) as made:
        if face == "sync":
            yield made
        else:
            async with made.aio as twin:
                yield twin


@pytest.fixture
async def backend(place: Service, face: str) -> AsyncIterator[Any]:
    """A client of the service, sync or async."""
    async with opened(place, face) as client:
        yield client


every_service = pytest.mark.parametrize(
    ("service", "version"),
    [("llama_cloud", ""), ("openhands", "1.18.1"), ("openhands", "1.58.2")],
    ids=lambda value: value or "local",
)


@every_service
async def test_deltas_show_the_whole_answer_once_and_stop_is_last(backend: Any) -> None:
    async with entered(backend.session().stream("TEXT please")) as stream:
        events = await every(stream)
    assert "".join(e.content for e in events if isinstance(e, TextDelta)) == "Plain answer in pieces."
    assert [isinstance(event, Stop) for event in events] == [False] * (len(events) - 1) + [True]
    assert (stream.turn.text, stream.turn.is_complete, stream.is_closed) == ("Plain answer in pieces.", True, True)
    assert stream.turn.usage.output_tokens == 20


@every_service
async def test_a_tool_that_ran_is_a_run_with_its_result(backend: Any) -> None:
    turn = await do(backend.session().ask("TOOL please"))
    (run,) = turn.tool_runs
    assert (run.name, run.arguments, run.status) == ("think", {"thought": "one"}, "completed")
    assert turn.text == "I will think.\n\nThe tool has answered."


@every_service
async def test_the_history_holds_the_turns_as_they_were(backend: Any) -> None:
    session = backend.session()
    turns = [await do(session.ask(prompt)) for prompt in ("TEXT one", "TOOL two")]
    stored = await do(session.turns())
    assert [(t.prompt, t.text, t.thinking, t.tool_runs) for t in stored] == [
        (t.prompt, t.text, t.thinking, t.tool_runs) for t in turns
    ]
    assert [turn.prompt for turn in replay((await do(session.retrieve())).events)] == ["TEXT one", "TOOL two"]


@every_service
async def test_a_turn_that_failed_raises_with_the_turn_on_it(backend: Any) -> None:
    session = backend.session()
    with pytest.raises(TurnFailed, match="AuthenticationError") as caught:
        await do(session.ask("FAIL401"))
    assert (caught.value.session_id, caught.value.turn.prompt) == (session.id, "FAIL401")
    assert (await do(session.turns()))[0].error is not None


@every_service
async def test_a_session_is_created_at_the_first_send_and_found_again(backend: Any) -> None:
    session = backend.session()
    assert session.id is None
    await do(session.ask("TEXT one"))
    again = backend.session(session.id)
    await do(again.ask("TEXT two"))
    assert len(await do(session.turns())) == 2


@every_service
async def test_a_session_is_listed_summed_up_titled_and_deleted(backend: Any) -> None:
    session = backend.session()
    await do(session.ask("TEXT please"))
    assert session.id in [item.session_id for item in await first(3, backend.list(page_size=2))]
    summary = await do(session.summary())
    assert isinstance(summary, SessionSummary)
    titled = await do(session.set_title())
    assert isinstance(titled, TitledSummary)
    assert titled.generated_title
    await do(session.delete())
    with pytest.raises(NotFoundError):
        await do(backend.retrieve(session.id))


@every_service
async def test_an_unknown_session_is_a_404_in_every_call(backend: Any) -> None:
    for call in (backend.retrieve, backend.get_summary, backend.delete):
        with pytest.raises(NotFoundError):
            await do(call(_UNKNOWN))
    with pytest.raises(NotFoundError):
        await do(backend.session(_UNKNOWN).ask("TEXT"))


@every_service
async def test_an_empty_prompt_is_refused_before_anything_is_sent(backend: Any) -> None:
    session = backend.session()
    with pytest.raises(ConfigurationError, match="empty"):
        session.stream("  ")
    assert session.id is None


@every_service
async def test_thinking_is_apart_from_the_answer(backend: Any) -> None:
    turn = await do(backend.session().ask("TEXT please"))
    assert (turn.thinking, turn.text) == ("No tool needed.", "Plain answer in pieces.")


@every_service
async def test_tools_that_ran_together_are_runs_of_their_own(backend: Any) -> None:
    turn = await do(backend.session().ask("PARALLEL please"))
    assert [(run.arguments, run.status) for run in turn.tool_runs] == [
        ({"thought": "one"}, "completed"),
        ({"thought": "two"}, "completed"),
    ]
    assert len({run.call_id for run in turn.tool_runs}) == 2


@every_service
async def test_a_tool_that_failed_is_a_failed_run_and_the_turn_goes_on(backend: Any) -> None:
    session = backend.session()
    turn = await do(session.ask("BADTOOL please"))
    assert [(run.name, run.status) for run in turn.tool_runs] == [("no_such_tool", "failed")]
    assert (turn.text, turn.error) == ("The tool has answered.", None)
    assert (await do(session.turns()))[0].tool_runs == turn.tool_runs


@every_service
async def test_an_answer_is_shown_while_it_is_written(backend: Any, model: ModelServer) -> None:
    model.hold()
    async with entered(backend.session().stream("HELD")) as stream:
        assert await _half_of(stream) == "Half of "
        model.release()
        rest = "".join(event.content for event in await every(stream) if isinstance(event, TextDelta))
    assert rest == "it, and the rest."


@every_service
async def test_a_stream_that_is_cut_loses_nothing_and_repeats_nothing(
    place: Service, face: str, model: ModelServer
) -> None:
    model.hold()
    with Proxy(place.port) as proxy:
        async with opened(place, face, proxy.url) as backend:
            session = backend.session()
            async with entered(session.stream("HELD")) as stream:
                shown = await _half_of(stream)
                proxy.cut()
                model.release()
                shown += "".join(event.content for event in await every(stream) if isinstance(event, TextDelta))
            assert shown == "Half of it, and the rest."
            assert [turn.text for turn in await do(session.turns())] == [shown]


@every_service
async def test_a_new_turn_of_the_same_words_is_never_taken_for_the_one_before(place: Service, face: str) -> None:
    words = "TEXT the same"
    async with opened(place, face) as backend:
        session = backend.session()
        before = await do(session.ask(words))
    with Proxy(place.port) as proxy:
        async with opened(place, face, proxy.url) as backend:
            again = backend.session(session.id)
            # The first look at the session passes; then nothing of what the server says of the new turn arrives.
            answers = iter([True])
            proxy.loses = lambda data: _says_of_a_turn(data) and next(answers, False)
            turn = await do(again.ask(words))
            assert next(answers, None) is None
            turns = await do(again.turns())
    assert [one.prompt for one in turns] == [words, words]
    assert (before.text, turn.text) == ("Plain answer in pieces.",) * 2
    assert turns[1] == turn


def _says_of_a_turn(data: bytes) -> bool:
    """Whether this is the answer to a prompt that was posted: of the Chat API, or of an agent server."""
    return b"text/event-stream" in data or b'{"success":true}' in data


@every_service
async def test_a_session_that_still_answers_is_waited_for(backend: Any, model: ModelServer) -> None:
    model.hold()
    session = backend.session()
    async with entered(session.stream("HELD")) as stream:
        await _half_of(stream)
    waiting = asyncio.create_task(_asked(session, "TEXT next"))
    model.release()
    assert (await waiting).text == "Plain answer in pieces."
    assert [turn.text for turn in await do(session.turns())] == [
        "Half of it, and the rest.",
        "Plain answer in pieces.",
    ]


@every_service
async def test_a_turn_that_was_left_is_in_the_history_with_its_whole_answer(backend: Any, model: ModelServer) -> None:
    model.hold()
    session = backend.session()
    async with entered(session.stream("HELD")) as stream:
        await _half_of(stream)
    assert stream.is_closed
    model.release()
    while True:
        (turn,) = await do(session.turns())
        if turn.is_complete:
            break
    assert (turn.text, turn.error) == ("Half of it, and the rest.", None)


@every_service
async def test_turns_begun_together_follow_each_other(backend: Any) -> None:
    session = backend.session()
    prompts = [f"TEXT {number}" for number in range(3)]
    turns = await asyncio.gather(*(_asked(session, prompt) for prompt in prompts))
    assert {turn.text for turn in turns} == {"Plain answer in pieces."}
    assert sorted(turn.prompt for turn in await do(session.turns())) == prompts


@every_service
async def test_a_prompt_comes_back_as_it_was_sent(backend: Any) -> None:
    prompt = 'TEXT "quotes", \\ and\n\tlines, Grüße 🙂'
    session = backend.session()
    await do(session.ask(prompt))
    assert [turn.prompt for turn in await do(session.turns())] == [prompt]


@every_service
async def test_a_list_begins_with_the_newest_and_is_read_page_by_page(backend: Any) -> None:
    made = [(await do(backend.create())).session_id for _ in range(3)]
    listed = [summary.session_id for summary in await first(3, backend.list(page_size=2))]
    assert set(listed) == set(made)


@every_service
async def test_a_stream_that_was_never_opened_sends_nothing(backend: Any) -> None:
    session = backend.session()
    stream = session.stream("TEXT please")
    await do(stream.close())
    assert await every(stream) == []
    assert session.id is None


@every_service
async def test_both_adapters_answer_and_remember_in_one_session(place: Service) -> None:
    with place.client(None) as chat:
        engine = SessionChatEngine(client=chat)
        assert engine.chat("TOOL please").response == "I will think.\n\nThe tool has answered."
        model = SessionChatModel(client=chat, session_id=engine.session_id)
        answer = model.invoke("TEXT please")
        assert answer.text == "Plain answer in pieces."
        assert answer.usage_metadata is not None
        assert answer.usage_metadata["output_tokens"] == 20
        roles = [message.role.value for message in engine.chat_history]
        assert roles == ["user", "assistant", "tool", "assistant", "user", "assistant"]
        messages = events_to_messages(chat.retrieve(str(engine.session_id)).events)
        assert [message.type for message in messages] == ["human", "ai", "human", "ai"]
        with pytest.raises(TurnFailed, match="AuthenticationError"):
            engine.chat("FAIL401")


async def _asked(session: Any, prompt: str) -> Any:
    ask = session.ask
    return await ask(prompt) if asyncio.iscoroutinefunction(ask) else await asyncio.to_thread(ask, prompt)


async def _half_of(stream: Any) -> str:
    """What is shown before the answer is held."""
    shown = ""
    async for event in some(stream):
        shown += event.content if isinstance(event, TextDelta) else ""
        if shown == "Half of ":
            break
    return shown
