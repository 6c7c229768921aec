"""Conversations of real agent servers as sessions: made, listed, read, titled, deleted."""

from __future__ import annotations

import pickle
import uuid
from typing import Any

import httpx
import pytest

from chat_sessions.core.errors import (
    APIConnectionError,
    AuthenticationError,
    ConfigurationError,
    InternalServerError,
    NotFoundError,
    UnprocessableEntityError,
)
from chat_sessions.openhands import OpenHandsChat
from tests.faces import do, every, first
from tests.openhands.servers.agent_server import API_KEY, AgentServer
from tests.openhands.servers.model_server import TITLE, ModelServer

pytestmark = pytest.mark.openhands


async def test_a_session_is_created_read_and_deleted(chat: Any) -> None:
    summary = await do(chat.create())
    assert (summary.generated_title, summary.index_ids, summary.execution_status) == (None, None, "idle")
    session = await do(chat.retrieve(summary.session_id))
    assert (session.session_id, session.events) == (summary.session_id, [])
    assert [item.session_id for item in await first(1, chat.list())] == [summary.session_id]
    await do(chat.delete(summary.session_id))
    with pytest.raises(NotFoundError):
        await do(chat.get_summary(summary.session_id))
    with pytest.raises(NotFoundError):
        await do(chat.delete(summary.session_id))


async def test_a_create_that_is_repeated_makes_one_conversation(server: AgentServer, face: str) -> None:
    own = str(uuid.uuid4())
    with server.client(conversation={"conversation_id": own}) as made:
        chat: Any = made if face == "sync" else made.aio
        assert [(await do(chat.create())).session_id for _ in range(2)] == [own, own]
        await do(chat.close())


async def test_a_list_is_read_page_by_page(chat: Any) -> None:
    made = {(await do(chat.create())).session_id for _ in range(3)}
    assert {item.session_id for item in await first(3, chat.list(page_size=1))} == made


async def test_a_history_of_many_pages_is_read_whole(chat: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_sessions.openhands.wire.PAGE_SIZE", 3)
    session = chat.session()
    turns = [await do(session.ask(prompt)) for prompt in ("TOOL one", "TEXT two")]
    assert await do(session.turns()) == turns


async def test_a_title_is_made_and_says_how(chat: Any, server: AgentServer) -> None:
    session = chat.session()
    await do(session.ask("TEXT please"))
    title = await do(chat.generate_title(session.id, max_length=20))
    if server.is_new:
        # No title comes by itself here (autotitle is off), so the agent is asked.
        assert (title.title, title.origin) == ("Plain answer in piec"[:19] + "…", "asked")
    else:
        assert (title.title, title.origin) == (TITLE, "generated")
    assert (await do(session.summary())).generated_title == title.title
    named = await do(session.set_title())
    assert named.title_origin == ("existing" if server.is_new else "requested")


async def test_the_servers_own_title_is_waited_for(server: AgentServer, face: str) -> None:
    with server.client(conversation={"autotitle": True}) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        await do(session.ask("TEXT please"))
        title = await do(chat.generate_title(session.id))
        assert title.title
        # A server that has made it before the first look does not say that it has.
        assert title.origin in (("automatic", "existing") if server.is_new else ("generated",))
        await do(chat.close())


async def test_a_title_can_be_made_by_another_model_where_the_server_can(chat: Any, server: AgentServer) -> None:
    session = chat.session()
    await do(session.ask("TEXT please"))
    if server.is_new:
        with pytest.raises(ConfigurationError, match=f"{server.version} has no titles made with llm="):
            await do(chat.generate_title(session.id, llm=server.llm))
    else:
        title = await do(chat.generate_title(session.id, llm={**server.llm, "stream": True}))
        assert title.origin == "generated"


@pytest.mark.parametrize("version", ["1.18.1"])
async def test_every_setting_of_a_titles_model_reaches_the_model(
    chat: Any, server: AgentServer, model: ModelServer
) -> None:
    session = chat.session()
    await do(session.ask("TEXT please"))
    sent = {
        "temperature": 0.25,
        "top_p": 0.5,
        "max_output_tokens": 99,
        "seed": 7,
        "extra_headers": {"X-Team": "docs"},
        "litellm_extra_body": {"metadata": {"purpose": "title"}},
    }
    # What is not of the request itself: retries, waits, prices, logs, how the prompt is written.
    quiet = {
        "timeout": 30,
        "retry_multiplier": 8,
        "retry_min_wait": 1,
        "retry_max_wait": 2,
        "max_message_chars": 30000,
        "max_input_tokens": 20_000,
        "input_cost_per_token": 0.001,
        "output_cost_per_token": 0.002,
        "drop_params": True,
        "modify_params": True,
        "disable_stop_word": False,
        "caching_prompt": True,
        "log_completions": False,
        "native_tool_calling": True,
        "usage_id": "titles",
    }
    title = await do(chat.generate_title(session.id, 50, {**server.llm, "model": "openai/other", **sent, **quiet}))
    assert (title.title, title.origin) == (TITLE, "generated")
    body, headers = model.requests[-1], model.headers[-1]
    assert (body["model"], body["temperature"], body["top_p"], body["seed"]) == ("other", 0.25, 0.5, 7)
    assert 99 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert body["metadata"] == {"purpose": "title"}
    assert headers["x-team"] == "docs"


@pytest.mark.parametrize("version", ["1.18.1"])
async def test_a_title_is_made_by_the_model_that_was_named_last(
    chat: Any, server: AgentServer, model: ModelServer
) -> None:
    session = chat.session()
    await do(session.ask("TEXT please"))
    # Without a model that answers, the server takes the beginning of the first message.
    for name, key, made in (("one", "sk-bad", "TEXT please"), ("one", "sk-good", TITLE), ("two", "sk-good", TITLE)):
        llm = {**server.llm, "model": f"openai/{name}", "api_key": key}
        assert (await do(chat.generate_title(session.id, llm=llm))).title == made
        assert model.requests[-1]["model"] == name
        assert model.headers[-1]["authorization"] == f"Bearer {key}"


@pytest.mark.parametrize("version", ["1.58.2"])
async def test_a_title_that_is_too_long_is_cut_where_it_is_kept_too(chat: Any) -> None:
    session_id = (await do(chat.create())).session_id
    await do(chat.rename(session_id, "A title of my own"))
    title = await do(chat.generate_title(session_id, 10))
    assert (title.title, title.origin) == ("A title o…", "existing")
    assert (await do(chat.get_summary(session_id))).generated_title == title.title


async def test_a_title_of_an_unknown_conversation_is_a_404(chat: Any) -> None:
    with pytest.raises(NotFoundError):
        await do(chat.generate_title(str(uuid.uuid4())))


async def test_an_unknown_conversation_is_a_404_at_once_in_every_call(server: AgentServer, face: str) -> None:
    unknown = str(uuid.uuid4())
    count = 0

    def counted(_: httpx.Request) -> None:
        nonlocal count
        count += 1

    async def acounted(request: httpx.Request) -> None:
        counted(request)

    headers = {"X-Session-API-Key": API_KEY}
    with httpx.Client(event_hooks={"request": [counted]}, headers=headers) as sync:
        async with httpx.AsyncClient(event_hooks={"request": [acounted]}, headers=headers) as twin:
            with server.client(http_client=sync, async_http_client=twin) as made:
                chat: Any = made if face == "sync" else made.aio
                for call in (
                    lambda: chat.retrieve(unknown),
                    lambda: chat.get_summary(unknown),
                    lambda: chat.delete(unknown),
                    lambda: chat.rename(unknown, "Mine"),
                    lambda: chat.set_tags(unknown, {"a": "b"}),
                    lambda: chat.generate_title(unknown),
                    lambda: chat.run(unknown),
                    lambda: chat.pause(unknown),
                    lambda: chat.interrupt(unknown),
                    lambda: chat.ask_agent(unknown, "Why?"),
                    lambda: chat.set_confirmation_policy(unknown, "NeverConfirm"),
                    lambda: chat.update_secrets(unknown, {"A": "b"}),
                    lambda: chat.fork(unknown),
                    lambda: chat.navigate(unknown, None),
                    lambda: every(chat.events(unknown)),
                    lambda: chat.workspace(unknown).list(),
                ):
                    count = 0
                    with pytest.raises(NotFoundError):
                        await do(call())
                    # Nothing is tried again, which would take seconds.
                    assert count <= 3
                await do(chat.close())


async def test_a_title_of_a_conversation_without_a_message_says_so(chat: Any) -> None:
    made = await do(chat.create())
    with pytest.raises(ConfigurationError, match="no message yet"):
        await do(chat.generate_title(made.session_id))


async def test_a_uuid_is_an_id(chat: Any) -> None:
    made = uuid.UUID((await do(chat.create())).session_id)
    assert (await do(chat.get_summary(made))).session_id == str(made)
    session = chat.session(made)
    await do(session.ask("TEXT please"))
    assert session.id == str(made)
    assert (await do(chat.generate_title(made, 30))).title


async def test_a_session_can_be_renamed(chat: Any) -> None:
    session_id = (await do(chat.create())).session_id
    await do(chat.rename(session_id, "My own"))
    assert (await do(chat.get_summary(session_id))).generated_title == "My own"
    with pytest.raises(NotFoundError):
        await do(chat.rename(str(uuid.uuid4()), "My own"))


async def test_a_wrong_key_is_a_401_everywhere(server: AgentServer, face: str) -> None:
    with server.client() as right, server.client(api_key="wrong") as made:
        session_id = right.create().session_id
        chat: Any = made if face == "sync" else made.aio
        with pytest.raises(AuthenticationError):
            await do(chat.create())
        with pytest.raises(AuthenticationError) as caught:
            await do(chat.session(session_id).ask("TEXT"))
        assert API_KEY not in str(caught.value)
        assert right.session(session_id).turns() == []
        await do(chat.close())


async def test_an_agent_that_the_server_does_not_know_is_refused_at_once(server: AgentServer, face: str) -> None:
    with server.client(agent={"kind": "NoSuchAgent"}) as made:
        chat: Any = made if face == "sync" else made.aio
        # The old server fails over its own refusal.
        error, says = (
            (UnprocessableEntityError, "NoSuchAgent")
            if server.is_new
            else (InternalServerError, "refused the request but could not report why")
        )
        with pytest.raises(error, match=says):
            await do(chat.create())
        await do(chat.close())


async def test_a_request_over_which_the_server_trips_is_sent_once(server: AgentServer, face: str) -> None:
    posts: list[httpx.URL] = []

    def note(request: httpx.Request) -> None:
        if request.method == "POST":
            posts.append(request.url)

    async def anote(request: httpx.Request) -> None:
        note(request)

    with httpx.Client(event_hooks={"request": [note]}) as sync:
        async with httpx.AsyncClient(event_hooks={"request": [anote]}) as twin:
            with server.client(http_client=sync, async_http_client=twin) as made:
                chat: Any = made if face == "sync" else made.aio
                session_id = (await do(chat.create())).session_id
                posts.clear()
                with pytest.raises(InternalServerError, match=r"answered 500.*Failed to upload"):
                    await do(chat.workspace(session_id).upload("/proc/no/such/folder", b""))
                assert len(posts) == 1
                if not server.is_new:
                    posts.clear()
                    with pytest.raises(InternalServerError, match="check the arguments"):
                        await do(chat.set_confirmation_policy(session_id, "NoSuchPolicy"))
                    assert len(posts) == 1
                await do(chat.close())


async def test_after_an_answer_of_500_the_client_goes_on(server: AgentServer, face: str) -> None:
    # The server then closes the connection without a word, and the next request would meet that.
    with server.client(tools=["no_such_tool"], max_retries=0) as made:
        chat: Any = made if face == "sync" else made.aio
        try:
            session = chat.session((await do(chat.create())).session_id)
        except InternalServerError:
            session = None
        if session is not None:
            with pytest.raises((InternalServerError, APIConnectionError)):
                await do(session.ask("TEXT"))
        for _ in range(5):
            await first(1, chat.list(page_size=1))
        await do(chat.close())


async def test_a_server_that_is_not_there_is_a_connection_error() -> None:
    chat = OpenHandsChat(base_url="http://127.0.0.1:1", llm="openai/none", max_retries=0)
    with pytest.raises(APIConnectionError, match="cannot reach"):
        chat.create()
    for baseline, asked in ((True, "GET"), (False, "WEBSOCKET")):
        with pytest.raises(APIConnectionError, match=asked):
            chat.session(str(uuid.uuid4()), baseline=baseline).ask("TEXT")
        with pytest.raises(APIConnectionError, match=asked):
            await chat.aio.session(str(uuid.uuid4()), baseline=baseline).ask("TEXT")
    chat.close()


def test_a_pickled_client_holds_no_key(version: str, server: AgentServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with server.client() as chat:
        data = pickle.dumps(chat)
        assert API_KEY.encode() not in data
        assert b"sk-none" not in data
        monkeypatch.setenv("OPENHANDS_API_KEY", API_KEY)
        with pickle.loads(data) as again:
            session_id = chat.create().session_id
            assert again.get_summary(session_id).session_id == session_id
            with pytest.raises(ConfigurationError, match="no agent"):
                again.create()
