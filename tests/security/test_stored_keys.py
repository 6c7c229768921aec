"""A key is in nothing that is printed, copied, serialised, traced or logged."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
import logging
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina
from langchain_core.load import dumps
from langchain_core.runnables import RunnableConfig
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from pydantic import SecretStr

from chat_sessions import (
    LocalServer,
    TurnFailed,
)
from chat_sessions.cli.where.agent import AgentOptions
from chat_sessions.cli.where.choice import Where
from chat_sessions.langchain import SessionChatModel
from chat_sessions.llama_index import SessionChatEngine
from tests.faces import do
from tests.security.key_holders import KEY, SECRETS, SESSION, Call, Maker, llama_cloud
from tests.server.scripted import PaperIndex
from tests.wire_server import Request, WireServer

DOCUMENTS = Path(__file__).parents[2] / "examples" / "documents"


def test_nothing_that_a_client_is_made_of_shows_a_key(make: Maker) -> None:
    chat = make("http://127.0.0.1:1")
    session = chat.session(SESSION)
    settings = chat._settings
    for thing in (chat, chat.aio, session, session.aio, settings, session.stream("q")):
        for text in (repr(thing), str(thing), f"{thing}", repr(getattr(thing, "__dict__", ""))):
            assert not [secret for secret in SECRETS if secret in text]
    with pytest.raises(TypeError):
        vars(settings)
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps(settings)
    assert not [secret for secret in SECRETS if secret in repr(dataclasses.replace(settings, max_retries=1))]
    assert not [secret for secret in SECRETS if secret in repr(settings.request_headers())]


def test_the_options_of_a_command_show_no_key() -> None:
    assert KEY not in repr(Where(api_key=KEY, agent=AgentOptions(llm=f'{{"model": "m", "api_key": "{KEY}"}}')))


def test_copies_keep_the_key_to_work_with_and_pickles_leave_it_behind(make: Maker) -> None:
    with make("http://127.0.0.1:1") as chat:
        for thing in (chat, chat.aio):
            for twin in (copy.copy(thing), copy.deepcopy(thing)):
                assert twin._settings.api_key == SecretStr(KEY)
                assert not [secret for secret in SECRETS if secret in repr(twin) + repr(vars(twin))]
            data = repr(pickle.dumps(thing))
            assert not [secret for secret in SECRETS if secret in data]
        twin = pickle.loads(pickle.dumps(chat))
        assert twin._settings.api_key is None


def test_an_adapter_with_a_key_of_its_own_hides_it() -> None:
    model = SessionChatModel(api_key=KEY)
    shown = repr(model) + str(model.model_dump()) + dumps(model)
    assert KEY not in shown
    assert KEY.encode() not in pickle.dumps(model)


def test_what_adapters_serialise_holds_no_key() -> None:
    chat = llama_cloud("http://127.0.0.1:1")
    model = SessionChatModel(client=chat)
    engine = SessionChatEngine(client=chat)
    texts = [repr(model), str(model.model_dump()), json.dumps(model.to_json(), default=repr), repr(vars(model))]
    texts += [repr(engine), repr(vars(engine)), engine.memory.model_dump_json(), str(engine.memory.model_dump())]
    texts += [repr(pickle.dumps(model)), repr(pickle.dumps(engine.memory)), repr(copy.deepcopy(model))]
    assert not [secret for secret in SECRETS for text in texts if secret in text]


async def test_no_run_of_a_trace_holds_a_key() -> None:
    collector = RunCollectorCallbackHandler()
    config: RunnableConfig = {"callbacks": [collector]}
    with LocalServer(indexes={"idx-docs": DOCUMENTS}, api_key=KEY) as server:
        model = SessionChatModel(client=server.client())
        model.invoke("How long is the warranty?", config)
        await model.ainvoke("How long is the warranty?", config)
        with pytest.raises(TurnFailed):
            SessionChatModel(client=server.client(), index_ids=["idx-none"]).invoke("Anything?", config)
    runs = [run for root in collector.traced_runs for run in (root, *root.child_runs)]
    assert {run.run_type for run in runs} == {"llm", "tool"}
    assert not [run for run in runs if KEY in run.model_dump_json(fallback=repr) + repr(run) + repr(run.error)]


def test_nothing_is_logged_of_a_key_at_any_level(make: Maker, caplog: pytest.LogCaptureFixture) -> None:
    """Every logger at DEBUG: ours, and those of httpx, httpcore, websockets, stamina and asyncio."""
    caplog.set_level(logging.DEBUG)
    names = ("httpx", "httpcore.http11", "httpcore.connection", "websockets", "stamina", "asyncio")
    for name in names:
        caplog.set_level(logging.DEBUG, logger=name)
    with WireServer() as wire:
        wire.on("GET", "", lambda request, connection: connection.respond(503, {}, headers=repeated(request)))
        wire.on("POST", "", lambda request, connection: connection.respond(401, {}, headers=repeated(request)))
        with stamina.set_testing(True, attempts=2), make(wire.url, max_retries=1) as chat:
            for one in (chat, chat.aio):
                calls: list[Call] = [partial(one.get_summary, SESSION), partial(one.session(SESSION).ask, "q")]
                for call in calls:
                    with pytest.raises(Exception, match=r"answered|WEBSOCKET"):
                        asyncio.run(do_and_close(call, chat))
    assert "httpcore" in {record.name.partition(".")[0] for record in caplog.records}
    told = [record.getMessage() + repr(record.args) + repr(record.__dict__) for record in caplog.records]
    assert not [secret for secret in SECRETS for text in told if secret in text]


def repeated(request: Request) -> dict[str, str]:
    """Headers of a service, or a proxy in between, that repeats what it was sent."""
    return {f"X-Echo-{name}": value for name, value in request.headers.items()}


async def do_and_close(call: Call, chat: Any) -> None:
    try:
        await do(call())
    finally:
        await chat.aio.close()


def test_a_server_logs_no_key_at_any_level_and_shows_none(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "sse_starlette", "chat_sessions"):
        caplog.set_level(logging.DEBUG, logger=name)

    class Failing(PaperIndex):
        def attachments(self, source_id: str) -> list[str] | None:
            raise RuntimeError("private")

    with LocalServer(indexes={"idx-docs": Failing()}, api_key=KEY) as server:
        chat = server.client()
        chat.create(index_ids=["idx-docs"])
        headers = {"Authorization": f"Bearer {KEY}"}
        failed = httpx.get(
            f"{server.url}/api/v1/beta/attachments",
            params={"source_id": "x"},
            headers=headers,
            trust_env=False,
            timeout=60,
        )
        assert failed.status_code == 500
        texts = [repr(server), repr(vars(server)), repr(chat), failed.text]
        chat.close()
    assert "private" in caplog.text
    texts += [record.getMessage() + repr(record.__dict__) for record in caplog.records]
    assert not [text for text in texts if KEY in text]
