"""A web application around hosted sessions: create one, stream a turn, stop it, get a whole answer, report errors.

Run it with `uvicorn examples.web_application:app`. It asks LlamaCloud, or the server that LLAMA_CLOUD_BASE_URL names.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Body, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse

from chat_sessions import APIConnectionError, APIStatusError, ConfigurationError, LlamaCloudChat, TurnError
from chat_sessions.llama_index import SessionChatEngine, StreamingSessionResponse

chat = LlamaCloudChat(index_ids=[os.environ.get("LLAMA_CLOUD_INDEX_ID", "idx-docs")])
app = FastAPI()
# What streams now, by session. With several processes, stop a turn in the process that streams it.
streaming: dict[str, StreamingSessionResponse] = {}
# What a user is told when the service refuses a request; whatever else it says is this application's problem.
REFUSALS = {
    404: "there is no such session",
    409: "an earlier question of this session is still being answered; ask again later",
    422: "the service refused the question",
    429: "too many questions; ask again later",
}


def checked(question: Annotated[str, Body(embed=True)]) -> str:
    try:
        chat.check_turn(question, None)
    except ConfigurationError as error:
        raise HTTPException(422, str(error)) from error
    return question


Question = Annotated[str, Depends(checked)]


@app.post("/sessions", status_code=201)
async def create() -> dict[str, str]:
    return {"session_id": (await chat.aio.create()).session_id}


@app.get("/sessions/{session_id}")
async def history(session_id: str) -> list[dict[str, str | None]]:
    return [{"question": turn.prompt, "answer": turn.text} for turn in await chat.aio.session(session_id).turns()]


@app.post("/sessions/{session_id}/stream")
async def stream(session_id: str, question: Question) -> StreamingResponse:
    engine = SessionChatEngine(client=chat, session_id=session_id)
    # The prompt is sent here, so a refusal is still a status.
    response = await engine.astream_chat(question)
    return StreamingResponse(pieces(session_id, response), media_type="text/plain")


async def pieces(session_id: str, response: StreamingSessionResponse) -> AsyncIterator[str]:
    streaming[session_id] = response
    # When the reader leaves, the generator is cancelled, and the block closes the socket to the service.
    async with response:
        try:
            async for piece in response.async_response_gen():
                yield piece
        except TurnError:
            yield "\n\n[this answer is not complete]"
        finally:
            streaming.pop(session_id, None)


@app.post("/sessions/{session_id}/stop", status_code=204)
async def stop(session_id: str) -> None:
    if response := streaming.pop(session_id, None):
        await response.aclose()


@app.post("/sessions/{session_id}/answer")
def answer(session_id: str, question: Question) -> dict[str, object]:
    # FastAPI runs a function without `async` in a thread, so a blocking call is fine.
    response = SessionChatEngine(client=chat, session_id=session_id).chat(question)
    return {"text": str(response), "files": sorted({node.metadata["file_name"] for node in response.source_nodes})}


@app.delete("/sessions/{session_id}", status_code=204)
async def delete(session_id: str) -> None:
    await chat.aio.delete(session_id)


@app.exception_handler(APIStatusError)
async def refused(_: Request, error: APIStatusError) -> JSONResponse:
    known = error.status_code in REFUSALS
    detail = REFUSALS.get(error.status_code, "the service failed")
    return JSONResponse({"detail": detail}, error.status_code if known else 502)


@app.exception_handler(APIConnectionError)
async def unreachable(_: Request, _error: APIConnectionError) -> JSONResponse:
    return JSONResponse({"detail": "the service cannot be reached; the question was not sent"}, 503)


@app.exception_handler(TurnError)
async def broken(_: Request, error: TurnError) -> JSONResponse:
    return JSONResponse({"detail": "this answer is not complete", "text": error.turn.text}, 502)
