"""One contract for every backend: what holds of a session holds wherever it is kept.

The LlamaCloud Chat API is the local server's, with an agent that says what the scripted model says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from chat_sessions import LocalServer
from chat_sessions.core.errors import ConfigurationError, NotFoundError, TurnFailed
from chat_sessions.core.events import Event, Stop, Text, TextDelta, ThinkingDelta, ToolCall, ToolResult
from chat_sessions.core.models import SessionSummary, TitledSummary, Usage
from chat_sessions.core.turn import replay
from chat_sessions.server import AgentTurn
from tests.faces import do, entered, every

pytestmark = pytest.mark.openhands

_UNKNOWN = "11111111-1111-4111-8111-111111111111"


class ScriptedAgent:
    """Says what the scripted model and its tools say."""

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
        else:
            yield ThinkingDelta(content="No tool needed.")
            for piece in ("Plain ", "answer ", "in ", "pieces."):
                yield TextDelta(content=piece)
        yield Stop(usage=usage, is_error=False)


@pytest.fixture(params=("sync", "async"))
async def backend(service: str, version: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """A client of the service, sync or async."""
    with ExitStack() as stack:
        if service == "openhands":
            server: Any = request.getfixturevalue("servers")(version)
        else:
            notes = tmp_path / "notes.md"
            notes.write_text("# Notes\n\nA document.\n", "utf-8")
            server = stack.enter_context(LocalServer(indexes={"idx-notes": notes}, agent=ScriptedAgent()))
        made = stack.enter_context(server.client())
        if request.param == "sync":
            yield made
        else:
            async with made.aio as twin:
                yield twin


every_service = pytest.mark.parametrize(
    ("service", "version"),
    [("llama_cloud", ""), ("openhands", "1.18.1"), ("openhands", "1.58.0")],
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
    assert turn.text == "I will think.The tool has answered."


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
    assert session.id in [item.session_id for item in await every(backend.list(page_size=2))]
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
