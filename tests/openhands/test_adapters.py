"""The LlamaIndex engine and the LangChain model over real agent servers, unchanged."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import RunnableConfig

from chat_sessions.core.errors import TurnFailed
from chat_sessions.langchain import SessionChatModel, events_to_messages
from chat_sessions.llama_index import SessionChatEngine
from tests.openhands.agent_server import AgentServer

pytestmark = pytest.mark.openhands


def test_the_engine_answers_and_streams_and_remembers(server: AgentServer) -> None:
    with server.client() as chat:
        engine = SessionChatEngine(client=chat)
        assert engine.chat("TEXT please").response == "Plain answer in pieces."
        assert "".join(engine.stream_chat("TOOL please").response_gen) == "I will think.The tool has answered."
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
        assert "".join(chunk.text for chunk in chunks) == "I will think.The tool has answered."
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
