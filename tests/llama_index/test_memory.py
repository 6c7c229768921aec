from __future__ import annotations

import asyncio
import json
import pickle
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import MockLLM
from llama_index.core.memory import BaseMemory, Memory
from sqlalchemy.ext.asyncio import create_async_engine

from chat_sessions import ChatSessionsError, ConfigurationError, LlamaCloudChat, NotFoundError, SessionSummary
from chat_sessions.http.client import HTTPClient
from chat_sessions.llama_index import (
    RemoteHistoryAppendOnlyError,
    SessionChatEngine,
    SessionMemory,
    SessionSummaryBlock,
)
from tests.faces import do, every
from tests.llama_index.checklist import proves
from tests.llama_index.conftest import KEY, ScriptedAgent, Serve, Wired
from tests.wire_server import Connection, Request

OTHER = ChatMessage(role=MessageRole.USER, content="Something else")


@pytest.mark.parametrize("given", [3, "x", "[]", [], [3]])
async def test_a_memory_refuses_what_it_cannot_be_made_of(given: Any) -> None:
    calls: list[tuple[str, Callable[[], object]]] = [
        ("from_json takes what to_json returned", lambda: SessionMemory.from_json(given)),
        ("from_dict takes what to_dict returned", lambda: SessionMemory.from_dict(given)),
        ("from_summary takes a summary", lambda: SessionMemory.from_summary(given)),
        ("from_session takes a session", lambda: SessionMemory.from_session(given)),
        ("client is of type", lambda: every(SessionMemory.list(given))),
        ("client is of type", lambda: every(SessionMemory.alist(given))),
    ]
    for said, call in calls:
        with pytest.raises(ConfigurationError, match=f"^{said}"):
            await do(call())


def test_a_stored_memory_is_read_from_bytes_too(memory: SessionMemory) -> None:
    stored: Any = memory.to_json().encode()
    assert SessionMemory.from_json(stored, client=memory.client) == memory


@pytest.mark.parametrize("given", [3, ["x"], "x", OTHER])
async def test_what_is_no_list_of_messages_is_refused(memory: SessionMemory, given: Any) -> None:
    for call in (
        lambda: memory.put_messages(given),
        lambda: memory.aput_messages(given),
        lambda: memory.set(given),
        lambda: memory.aset(given),
    ):
        with pytest.raises(ConfigurationError, match=r"^a memory takes messages of LlamaIndex: ChatMessage"):
            await do(call())
    wrong: Any = "x"
    for call in (lambda: memory.put(wrong), lambda: memory.aput(wrong)):
        with pytest.raises(ConfigurationError, match=r"^a memory takes messages of LlamaIndex: ChatMessage"):
            await do(call())


@pytest.fixture
def memory(engine: SessionChatEngine) -> SessionMemory:
    """The memory of a session with one turn."""
    engine.chat("How much?")
    return engine.memory


@proves(43)
def test_a_memory_goes_through_dict_json_and_pickle_without_its_key(
    memory: SessionMemory, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(memory, BaseMemory)
    memory.refresh()
    assert memory.class_name() == "SessionMemory"
    stored = json.dumps(memory.to_dict())
    pickled = pickle.dumps(memory)
    assert KEY not in stored
    assert KEY.encode() not in pickled
    client = memory.client
    for copy in (
        SessionMemory.from_dict(json.loads(stored), client=client),
        SessionMemory.from_json(memory.to_json(), client=client),
    ):
        assert copy == memory
        assert copy.get_all() == memory.get_all()
    unpickled = pickle.loads(pickled)
    assert unpickled == memory
    assert unpickled.job_metadata == memory.job_metadata
    with pytest.raises(ChatSessionsError, match="LLAMA_CLOUD_API_KEY"):
        unpickled.get()
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


@proves(43)
def test_a_memory_without_a_client_makes_one_from_the_environment(
    memory: SessionMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = SessionMemory.from_dict(memory.to_dict())
    with pytest.raises(ChatSessionsError, match="LLAMA_CLOUD_API_KEY"):
        copy.get_all()
    client = memory.client
    assert isinstance(client, LlamaCloudChat)
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", KEY)
    monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", client.base_url)
    assert copy.get_all() == memory.get_all()
    assert isinstance(copy.client, LlamaCloudChat)
    copy.client.close()


@proves(43)
def test_a_memory_made_before_its_session_knows_the_id_once_it_is_created(engine: SessionChatEngine) -> None:
    memory = engine.memory
    assert memory.get() == []
    assert memory.to_dict()["session_id"] is None
    engine.chat("How much?")
    assert memory.to_dict()["session_id"] == engine.session_id is not None


@proves(44)
async def test_the_sync_and_the_async_methods_give_the_same(memory: SessionMemory) -> None:
    assert memory.get() == memory.get_all() == await memory.aget() == await memory.aget_all()
    assert memory.get("what was asked?") == memory.get()
    assert memory.refresh() == await memory.arefresh()


@proves(44)
async def test_the_async_methods_use_no_thread_and_no_sync_request(
    memory: SessionMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server of the test runs in this process too, in a thread of its own.
    mine, in_a_thread = threading.get_ident(), asyncio.to_thread

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("not in async code")

    async def to_thread(function: Callable[..., object], *args: object, **kwargs: object) -> object:
        assert threading.get_ident() != mine
        return await in_a_thread(function, *args, **kwargs)

    history = memory.get()
    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    monkeypatch.setattr(HTTPClient, "send", refuse)
    assert await memory.aget() == await memory.aget_all() == history
    await memory.aput(history[-1])
    await memory.aput_messages(history)
    await memory.aset(history)
    await memory.arefresh()
    await memory.areset()
    assert await memory.aget() == []


@proves(45)
async def test_what_is_there_may_be_put_and_changes_nothing(memory: SessionMemory) -> None:
    history = memory.get()
    answer = ChatMessage(role=MessageRole.ASSISTANT, content="Revenue was 84.2.")
    for message in (history[-1], answer):
        memory.put(message)
        await memory.aput(message)
    memory.put_messages([ChatMessage(role=MessageRole.USER, content="How much?"), answer])
    memory.set(history)
    await memory.aset(history)
    assert memory.get() == history


@proves(45)
async def test_anything_else_is_refused_and_nothing_is_sent(serve: Serve) -> None:
    agent = ScriptedAgent()
    engine = SessionChatEngine(client=serve(agent=agent))
    engine.chat("How much?")
    memory = engine.memory
    history = memory.get()
    puts: tuple[Callable[[], None], ...] = (
        lambda: memory.put(OTHER),
        lambda: memory.put(history[0]),
        lambda: memory.put_messages([]),
        lambda: memory.put_messages([*history, OTHER]),
        lambda: memory.set([OTHER]),
        lambda: memory.set(history[:1]),
    )
    for put in puts:
        with pytest.raises(RemoteHistoryAppendOnlyError):
            put()
    for aput in (memory.aput(OTHER), memory.aput_messages([OTHER]), memory.aset([OTHER])):
        with pytest.raises(NotImplementedError):
            await aput
    assert memory.get() == history
    assert agent.prompts == ["How much?"]


@proves(45)
def test_a_stock_engine_that_would_write_into_a_session_is_refused(memory: SessionMemory) -> None:
    stock = SimpleChatEngine.from_defaults(llm=MockLLM(), memory=memory)
    with pytest.raises(RemoteHistoryAppendOnlyError, match="SessionChatEngine"):
        stock.chat("Hello")


@proves(24, 45)
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("way", ["reset", "set"])
async def test_resetting_the_memory_resets_its_engine_and_deletes_nothing(
    engine: SessionChatEngine, is_async: bool, way: str
) -> None:
    engine.chat("How much?")
    old, memory = engine.session_id, engine.memory
    assert old is not None
    if way == "reset":
        await memory.areset() if is_async else memory.reset()
    else:
        await memory.aset([]) if is_async else memory.set([])
    assert (memory.session_id, memory.generated_title, engine.session_id) == (None, None, None)
    assert memory.index_ids == ("idx",)
    engine.chat("And now?")
    assert engine.session_id != old
    assert len(engine.client.session(old).turns()) == 1


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_session_is_deleted_only_when_that_is_asked_for(memory: SessionMemory, is_async: bool) -> None:
    old = memory.session_id
    assert old is not None
    await memory.adelete() if is_async else memory.delete()
    assert memory.session_id is None
    with pytest.raises(NotFoundError):
        memory.client.get_summary(old)


@proves(46)
def test_a_summary_with_nothing_but_an_id_and_a_naive_date_is_taken() -> None:
    summary = SessionSummary.model_validate(
        {
            "session_id": "ses-1",
            "last_updated_at": "2026-01-02T03:04:05",
            "generated_title": None,
            "index_ids": None,
            "job_metadata": None,
        }
    )
    memory = SessionMemory.from_summary(summary)
    assert memory.last_updated_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert SessionMemory.from_json(memory.to_json()) == memory
    assert (memory.generated_title, memory.index_ids, memory.job_metadata) == (None, None, None)


@proves(46)
def test_a_memory_of_a_summary_continues_that_session(memory: SessionMemory) -> None:
    (summary,) = memory.client.list()
    made = SessionMemory.from_defaults(client=memory.client, session_id=summary.session_id)
    assert made.get() == memory.get()
    copy = SessionMemory.from_summary(summary, client=memory.client)
    assert copy.generated_title == "How much?"
    assert copy.get() == memory.get()
    engine = SessionChatEngine.from_session(copy.session)
    engine.chat("And then?")
    assert len(memory.session.turns()) == 2


def page_of(request: Request, wire: Connection, asked: list[str]) -> None:
    asked.append(request.target)
    number = len(asked)
    item = {"session_id": f"ses-{number}", "last_updated_at": "2026-01-01T00:00:00Z", "generated_title": f"No {number}"}
    wire.respond(200, {"items": [item], "next_page_token": None if number == 3 else f"page-{number}"})


@proves(47)
@pytest.mark.parametrize("is_async", [False, True])
async def test_pages_are_fetched_as_they_are_needed(wired: Wired, is_async: bool) -> None:
    asked: list[str] = []
    client = wired(lambda _, wire: wire.respond(500)).client
    wired.server.on("GET", "/chat", lambda request, wire: page_of(request, wire, asked))
    if is_async:
        memories = SessionMemory.alist(client, page_size=1)
        first = await anext(memories)
        assert len(asked) == 1
        rest = [memory async for memory in memories]
    else:
        listed = SessionMemory.list(client, page_size=1)
        assert asked == []
        first = next(listed)
        assert len(asked) == 1
        rest = list(listed)
    assert [memory.session_id for memory in (first, *rest)] == ["ses-1", "ses-2", "ses-3"]
    assert ["page-1" in asked[1], "page-2" in asked[2]] == [True, True]


@proves(48)
def test_the_summary_block_works_inside_memory_under_a_new_loop_each_time(serve: Serve) -> None:
    chat = serve()
    SessionChatEngine(client=chat).chat("What were the findings?")
    database = create_async_engine("sqlite+aiosqlite:///:memory:")
    memory = Memory.from_defaults(
        session_id="local",
        token_limit=500,
        memory_blocks=[SessionSummaryBlock(client=chat)],
        tokenizer_fn=str.split,
        async_engine=database,
    )
    # Each of these runs in an event loop of its own.
    memory.put(ChatMessage(role=MessageRole.USER, content="Hello"))
    for _ in range(2):
        system, user = memory.get()
        assert system.role is MessageRole.SYSTEM
        assert "What were the findings?" in str(system.content)
        assert user.content == "Hello"
    asyncio.run(database.dispose())


@proves(48)
async def test_what_memory_flushes_is_not_put_into_the_block(serve: Serve) -> None:
    chat = serve()
    SessionChatEngine(client=chat).chat("What were the findings?")
    block = SessionSummaryBlock(client=chat)
    database = create_async_engine("sqlite+aiosqlite:///:memory:")
    memory = Memory.from_defaults(
        session_id="local",
        token_limit=40,
        chat_history_token_ratio=0.5,
        token_flush_size=10,
        memory_blocks=[block],
        tokenizer_fn=str.split,
        async_engine=database,
    )
    for number in range(20):
        await memory.aput(ChatMessage(role=MessageRole.USER, content=f"This is message number {number} of many."))
        await memory.aput(ChatMessage(role=MessageRole.ASSISTANT, content="Noted."))
    assert len(await memory.aget_all()) == 40
    assert len(await block.aget()) > 0
    await database.dispose()


async def test_the_block_lists_a_line_per_session_and_stops_at_its_limit(serve: Serve) -> None:
    chat = serve()
    for question in ("One?", "Two?", "Three?"):
        SessionChatEngine(client=chat).chat(question)
    text = await SessionSummaryBlock(client=chat, limit=2).aget()
    assert len(text.splitlines()) == 2
    for summary in list(chat.list())[:2]:
        assert f"{summary.generated_title} ({summary.session_id})" in text
    bare = chat.create()
    assert f"untitled ({bare.session_id})" in await SessionSummaryBlock(client=chat, limit=1).aget()


async def test_the_block_is_shortened_line_by_line() -> None:
    block = SessionSummaryBlock()
    text = "2026-01-01 One (ses-1)\n2026-01-01 Two (ses-2)\n2026-01-01 Three (ses-3)"
    assert await block.atruncate(text, 0) == text
    assert await block.atruncate(text, 1) == "2026-01-01 One (ses-1)\n2026-01-01 Two (ses-2)"
    assert await block.atruncate(text, 10_000) is None
    assert await block.atruncate("", 5) is None


def test_a_dump_of_the_block_holds_its_settings_alone(serve: Serve) -> None:
    block = SessionSummaryBlock(client=serve(), limit=3)
    assert KEY not in block.model_dump_json()
    assert SessionSummaryBlock.model_validate(block.model_dump()).limit == 3
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        SessionSummaryBlock(limit=0)


@proves(41)
@pytest.mark.parametrize("show", [repr, str])
def test_no_key_is_shown(engine: SessionChatEngine, show: Callable[[object], str]) -> None:
    response = engine.stream_chat("How much?")
    response.drain()
    for thing in (
        engine,
        engine.memory,
        engine.session,
        response,
        response.metadata,
        engine.as_query_engine(),
        engine.as_tool("t", "d"),
        SessionSummaryBlock(client=engine.client),
        engine.chat_history,
    ):
        assert KEY not in show(thing)
