"""A hosted session behind AG-UI, through LlamaIndex: a thread of the client is a session.

Run it with `uvicorn examples.recipes.ag_ui_llama_index:app`.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator

from ag_ui.core import (
    BaseEvent,
    RunAgentInput,
    RunErrorEvent,
    RunFinishedEvent,
    RunStartedEvent,
    TextMessageContentEvent,
    TextMessageEndEvent,
    TextMessageStartEvent,
    ToolCallArgsEvent,
    ToolCallEndEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
)
from ag_ui.encoder import EventEncoder
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from llama_index.core.agent.workflow import AgentStream, AgentWorkflow, ToolCall, ToolCallResult

from chat_sessions import ChatSessionsError, LlamaCloudChat
from chat_sessions.llama_index import SessionAgent

chat = LlamaCloudChat(index_ids=[os.environ.get("LLAMA_CLOUD_INDEX_ID", "idx-docs")])
# In an application of several processes, keep them in a database.
sessions: dict[str, str] = {}
app = FastAPI()


@app.post("/")
async def run(asked: RunAgentInput) -> StreamingResponse:
    encoder = EventEncoder()

    async def lines() -> AsyncIterator[str]:
        async for event in events(asked):
            yield encoder.encode(event)

    return StreamingResponse(lines(), media_type=encoder.get_content_type())


async def events(asked: RunAgentInput) -> AsyncIterator[BaseEvent]:
    of_run = {"thread_id": asked.thread_id, "run_id": asked.run_id}
    yield RunStartedEvent(**of_run)
    if asked.thread_id not in sessions:
        sessions[asked.thread_id] = (await chat.aio.create()).session_id
    agent = SessionAgent(client=chat, session_id=sessions[asked.thread_id], name="documents", description="")
    question = next(message.content for message in reversed(asked.messages) if message.role == "user")
    handler = AgentWorkflow(agents=[agent], root_agent="documents").run(user_msg=question)
    # Text before a tool and text after it are two messages.
    number = 0
    is_open = False
    try:
        async for event in handler.stream_events():
            message_id = f"{asked.run_id}-{number}"
            if is_open and isinstance(event, ToolCall):
                yield TextMessageEndEvent(message_id=message_id)
                number, is_open = number + 1, False
            if isinstance(event, AgentStream) and event.delta:
                if not is_open:
                    yield TextMessageStartEvent(message_id=message_id, role="assistant")
                    is_open = True
                yield TextMessageContentEvent(message_id=message_id, delta=event.delta)
            elif isinstance(event, ToolCallResult):
                yield ToolCallResultEvent(
                    message_id=f"{event.tool_id}-result", tool_call_id=event.tool_id, content=event.tool_output.content
                )
            elif isinstance(event, ToolCall):
                yield ToolCallStartEvent(tool_call_id=event.tool_id, tool_call_name=event.tool_name)
                yield ToolCallArgsEvent(tool_call_id=event.tool_id, delta=json.dumps(event.tool_kwargs))
                yield ToolCallEndEvent(tool_call_id=event.tool_id)
        await handler
    except ChatSessionsError as error:
        yield RunErrorEvent(message=str(error))
        return
    if is_open:
        yield TextMessageEndEvent(message_id=f"{asked.run_id}-{number}")
    yield RunFinishedEvent(**of_run)
