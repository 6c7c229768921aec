"""The same truth through both frameworks: a turn that breaks around an event, through every entry point."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from chat_sessions import LlamaCloudChat, LocalServer, Session, Text, Turn, TurnInterrupted, replay
from chat_sessions.langchain import SessionChatModel
from chat_sessions.llama_index import SessionChatEngine
from chat_sessions.testing import Cut, How, Refuse
from tests.faces import apart
from tests.faults.playback import QUESTION, Playback, record
from tests.faults.speaker import SHORT, Speaker

ENDS: tuple[How, ...] = ("clean", "fin", "reset")
Ask = Callable[[LlamaCloudChat], Awaitable[str]]


def engine(client: LlamaCloudChat) -> SessionChatEngine:
    return SessionChatEngine(client=client)


def model(client: LlamaCloudChat) -> SessionChatModel:
    return SessionChatModel(client=client)


async def chat(client: LlamaCloudChat) -> str:
    return engine(client).chat(QUESTION).response


async def achat(client: LlamaCloudChat) -> str:
    return (await engine(client).achat(QUESTION)).response


async def stream_chat(client: LlamaCloudChat) -> str:
    return "".join(engine(client).stream_chat(QUESTION).response_gen)


async def astream_chat(client: LlamaCloudChat) -> str:
    response = await engine(client).astream_chat(QUESTION)
    return "".join([piece async for piece in response.async_response_gen()])


async def invoke(client: LlamaCloudChat) -> str:
    return str(model(client).invoke(QUESTION).text)


async def ainvoke(client: LlamaCloudChat) -> str:
    return str((await model(client).ainvoke(QUESTION)).text)


async def stream(client: LlamaCloudChat) -> str:
    return "".join(str(chunk.text) for chunk in model(client).stream(QUESTION))


async def astream(client: LlamaCloudChat) -> str:
    return "".join([str(chunk.text) async for chunk in model(client).astream(QUESTION)])


ASKS: list[Ask] = [chat, achat, stream_chat, astream_chat, invoke, ainvoke, stream, astream]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "note.md").write_text("# Note\n\nIt rose.\n")
    return tmp_path


@pytest.fixture
async def played(folder: Path) -> AsyncIterator[tuple[Playback, bytes, Turn]]:
    with LocalServer(indexes={"idx-docs": folder}, agent=Speaker(SHORT)) as server:
        stream_bytes, history = record(server)
    with Playback(stream_bytes, history) as playback:
        yield playback, stream_bytes, replay(Session.model_validate_json(history).events)[0]


@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: str(ask.__name__))
async def test_a_turn_cut_around_each_event_is_whole_through_each_entry_point(
    played: tuple[Playback, bytes, Turn], ask: Ask
) -> None:
    playback, recorded, whole = played
    boundaries = [0, *(match.end() for match in re.finditer(rb"\r\n\r\n", recorded))]
    places = {max(0, at + shift) for at in boundaries for shift in (-1, 0, 1)}
    places |= set(random.Random(5).sample(range(len(recorded)), 20))
    offsets = sorted(places)
    with playback.client() as client:
        for number, at in enumerate(offsets):
            playback.faults.script(Cut(at_byte=at, how=ENDS[number % 3]))
            assert (at, await ask(client)) == (at, apart(whole.events, Text))
        assert playback.faults.prompts == (QUESTION,) * len(offsets)
        await client.aio.close()


@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: str(ask.__name__))
async def test_a_turn_whose_session_cannot_be_read_is_an_error_with_a_true_beginning_through_each_entry_point(
    played: tuple[Playback, bytes, Turn], ask: Ask
) -> None:
    playback, recorded, whole = played
    with playback.client() as client:
        for at in range(len(recorded) // 3, len(recorded) - 200, len(recorded) // 7):
            playback.faults.clear()
            # A refusal that no wait can mend: the session is not looked up again.
            playback.faults.script(Cut(at_byte=at, how="clean"), Refuse(404, on="history"))
            with pytest.raises(TurnInterrupted) as caught:
                await ask(client)
            assert whole.text.startswith(caught.value.turn.text)
            assert playback.faults.prompts == (QUESTION,)
        await client.aio.close()
