"""The LlamaIndex engine and the LangChain model over real agent servers, unchanged."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import RunnableConfig
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler

from chat_sessions.core.errors import TurnFailed
from chat_sessions.core.models import SessionSummary
from chat_sessions.langchain import SessionChatModel, events_to_messages
from chat_sessions.llama_index import SessionChatEngine
from chat_sessions.openhands import ConfirmationRequest, OpenHandsChat
from chat_sessions.session import Timeouts
from tests.openhands.servers.agent_server import AgentServer
from tests.openhands.servers.model_server import ModelServer
from tests.openhands.servers.proxy import Proxy

pytestmark = pytest.mark.openhands

_HALF = "Half of "


def test_the_engine_answers_and_streams_and_remembers(server: AgentServer) -> None:
    with server.client() as chat:
        engine = SessionChatEngine(client=chat)
        assert engine.chat("TEXT please").response == "Plain answer in pieces."
        assert "".join(engine.stream_chat("TOOL please").response_gen) == "I will think.\n\nThe tool has answered."
        assert [str(message.role.value) for message in engine.chat_history][:2] == ["user", "assistant"]
        assert [tool.tool_name for tool in engine.chat("TOOL again").sources] == ["think"]


async def test_the_engine_answers_and_streams_in_async_code(server: AgentServer) -> None:
    with server.client() as chat:
        engine = SessionChatEngine(client=chat)
        assert (await engine.achat("TEXT please")).response == "Plain answer in pieces."
        response = await engine.astream_chat("FINISH please")
        pieces = [piece async for piece in response.async_response_gen()]
        assert "".join(pieces) == "Wrapping up. Finished by the tool."
        await chat.aio.close()


def test_the_engine_raises_what_the_turn_raises(server: AgentServer) -> None:
    with server.client() as chat, pytest.raises(TurnFailed, match="AuthenticationError"):
        SessionChatEngine(client=chat).chat("FAIL401")


def test_the_model_answers_and_streams_within_one_session(server: AgentServer) -> None:
    with server.client() as chat:
        model = SessionChatModel(client=chat, session_id=chat.create().session_id)
        answer = model.invoke("TEXT please")
        assert answer.text == "Plain answer in pieces."
        assert answer.usage_metadata is not None
        assert answer.usage_metadata["output_tokens"] == 20
        chunks = [chunk for chunk in model.stream("TOOL please") if isinstance(chunk, AIMessageChunk)]
        assert "".join(chunk.text for chunk in chunks) == "I will think.\n\nThe tool has answered."
        assert model.session_id is not None
        assert len(chat.session(model.session_id).turns()) == 2


async def test_the_model_answers_and_streams_in_async_code(server: AgentServer) -> None:
    with server.client() as chat:
        session_id = chat.create().session_id
        model = SessionChatModel(client=chat)
        config: RunnableConfig = {"configurable": {"session_id": session_id}}
        assert (await model.ainvoke("TEXT please", config=config)).text == "Plain answer in pieces."
        pieces = [chunk.text async for chunk in model.astream("TEXT again", config=config)]
        assert "".join(pieces) == "Plain answer in pieces."
        assert len(pieces) > 2
        await chat.aio.close()


def test_the_history_of_a_conversation_is_messages(server: AgentServer) -> None:
    with server.client() as chat:
        session = chat.session()
        session.ask("TOOL please")
        messages: list[Any] = list(events_to_messages(session.retrieve().events))
        assert messages[0].text == "TOOL please"
        assert isinstance(messages[-1], AIMessage)
        assert "The tool has answered." in messages[-1].text


class Reader:
    """Someone who reads the held answer through an adapter, in a conversation of its own."""

    def __init__(self, chat: OpenHandsChat) -> None:
        self.chat = chat
        self.text = ""
        self.has_half = threading.Event()
        self.error: BaseException | None = None
        self.session_id: str | None = None

    def add(self, piece: str) -> None:
        self.text += piece
        if self.text == _HALF:
            self.has_half.set()

    async def read(self) -> None:
        try:
            await self.pieces()
        except TurnFailed as error:
            self.error = error
            self.session_id = error.session_id

    async def pieces(self) -> None:
        raise NotImplementedError


class EngineReader(Reader):
    async def pieces(self) -> None:
        await asyncio.to_thread(self._pieces)

    def _pieces(self) -> None:
        with SessionChatEngine(client=self.chat).stream_chat("HELD") as response:
            for piece in response.response_gen:
                self.add(piece)


class AsyncEngineReader(Reader):
    async def pieces(self) -> None:
        async with await SessionChatEngine(client=self.chat).astream_chat("HELD") as response:
            async for piece in response.async_response_gen():
                self.add(piece)


class ModelReader(Reader):
    async def pieces(self) -> None:
        await asyncio.to_thread(self._pieces)

    def _pieces(self) -> None:
        for chunk in SessionChatModel(client=self.chat).stream("HELD"):
            self.add(chunk.text)


class AsyncModelReader(Reader):
    async def pieces(self) -> None:
        async for chunk in SessionChatModel(client=self.chat).astream("HELD"):
            self.add(chunk.text)


@asynccontextmanager
async def four_readers(server: AgentServer, model: ModelServer, **arguments: Any) -> AsyncIterator[list[Reader]]:
    """Both adapters, sync and async, each with the first half of its answer; left when all have ended."""
    model.hold()
    with server.client(**arguments) as chat:
        kinds: tuple[type[Reader], ...] = (EngineReader, AsyncEngineReader, ModelReader, AsyncModelReader)
        readers = [kind(chat) for kind in kinds]
        reading = [asyncio.create_task(reader.read()) for reader in readers]
        try:
            for reader in readers:
                await asyncio.to_thread(reader.has_half.wait)
            yield readers
        finally:
            model.release()
            await asyncio.gather(*reading)
            await chat.aio.close()


async def test_a_connection_cut_in_a_run_is_not_seen_through_an_adapter(
    server: AgentServer, model: ModelServer
) -> None:
    with Proxy(server.port) as proxy:
        async with four_readers(server, model, base_url=proxy.url) as readers:
            proxy.cut()
        assert [(reader.text, reader.error) for reader in readers] == [("Half of it, and the rest.", None)] * 4


async def test_a_server_killed_in_a_run_fails_the_turn_of_every_adapter_after_what_it_had(
    server: AgentServer, model: ModelServer
) -> None:
    # It may take its time to start again.
    timeouts = Timeouts(connect=5, first_event=20, idle=60, recovery=100)
    async with four_readers(server, model, timeouts=timeouts) as readers:
        await asyncio.to_thread(server.kill)
        model.release()
        await asyncio.to_thread(server.start)
    for reader in readers:
        assert reader.text == _HALF
        assert "stopped during the run" in str(reader.error)
    with server.client() as chat:
        engine = SessionChatEngine(client=chat, session_id=readers[0].session_id)
        assert engine.chat("TEXT after").response == "Plain answer in pieces."
        answer = SessionChatModel(client=chat, session_id=readers[2].session_id).invoke("TEXT after")
        assert answer.text == "Plain answer in pieces."


async def test_an_interrupt_ends_the_turn_of_every_adapter(server: AgentServer, model: ModelServer) -> None:
    async with four_readers(server, model) as readers:
        newest = itertools.islice(readers[0].chat.list(page_size=4), 4)
        running = [item.session_id for item in newest if _status(item) == "running"]
        assert len(running) == 4
        asked = [asyncio.create_task(asyncio.to_thread(readers[0].chat.interrupt, session)) for session in running]
        if not server.is_new:
            # It pauses a run only when the model has answered.
            model.release()
        await asyncio.gather(*asked)
    for reader in readers:
        if server.is_new:
            assert (reader.text, "interrupted" in str(reader.error)) == (_HALF, True)
        else:
            assert reader.text == "Half of it, and the rest."


def _status(summary: SessionSummary) -> object:
    return (summary.model_extra or {}).get("execution_status")


async def test_an_adapter_asks_before_its_agent_acts(server: AgentServer) -> None:
    asked: list[str] = []

    def confirm(request: ConfirmationRequest) -> bool:
        asked.extend(action.name for action in request.actions)
        return len(asked) % 2 == 1

    with server.client(
        tools=[{"name": "terminal", "params": {"terminal_type": "subprocess"}}],
        conversation={"confirmation_policy": {"kind": "AlwaysConfirm"}},
        on_confirmation=confirm,
    ) as chat:
        engine = SessionChatEngine(client=chat)
        assert [tool.is_error for tool in engine.chat("SHELL").sources] == [False]
        assert [tool.is_error for tool in (await engine.achat("SHELL")).sources] == [True]
        model = SessionChatModel(client=chat)
        statuses = [
            [block["status"] for block in answer.content_blocks if block["type"] == "server_tool_result"]
            for answer in (model.invoke("SHELL"), await model.ainvoke("SHELL"))
        ]
        assert statuses == [["success"], ["error"]]
        await chat.aio.close()
    assert asked == ["terminal"] * 4


class Watch(BaseCallbackHandler):
    """What a tracer of LangChain is told, in its order."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.names: dict[UUID, str] = {}

    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
        self.told.append("model starts")

    def on_tool_start(self, serialized: dict[str, Any], input_str: str, *, run_id: UUID, **kwargs: Any) -> None:
        self.names[run_id] = serialized["name"]
        self.told.append(f"{serialized['name']} starts")

    def on_tool_end(self, output: Any, **kwargs: Any) -> None:
        self.told.append(f"{output.name} ends: {output.status}")

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        self.told.append(f"{self.names[run_id]} ends: error")

    def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
        self.told.append("model ends")


@pytest.mark.parametrize(
    ("prompt", "runs"),
    [
        ("PARALLEL", ["think starts", "think starts", "think ends: success", "think ends: success"]),
        ("BADTOOL", ["no_such_tool starts", "no_such_tool ends: error"]),
        ("FINISH", []),
    ],
)
def test_the_agents_tools_are_in_the_traces_of_both_adapters(server: AgentServer, prompt: str, runs: list[str]) -> None:
    watch, debug = Watch(), LlamaDebugHandler(print_trace_on_end=False)
    with server.client() as chat:
        SessionChatModel(client=chat).invoke(prompt, {"callbacks": [watch]})
        SessionChatEngine(client=chat, callback_manager=CallbackManager([debug])).chat(prompt)
    assert watch.told[0] == "model starts"
    assert sorted(watch.told[1:-1]) == sorted(runs)
    assert watch.told[-1] == "model ends"
    assert len(debug.get_event_pairs(CBEventType.FUNCTION_CALL)) == len(runs) // 2
