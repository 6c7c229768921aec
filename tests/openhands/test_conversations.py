"""What a conversation takes beside its turns: its run, its settings, its branches, its files, its cost."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from chat_sessions.core.errors import (
    APIStatusError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    TurnFailed,
)
from chat_sessions.langchain import SessionChatModel, SessionMemory
from chat_sessions.llama_index import SessionChatEngine
from chat_sessions.llama_index import SessionMemory as ChatMemory
from chat_sessions.openhands import AsyncOpenHandsSession, OpenHandsChat, OpenHandsSession
from tests.faces import do, entered, every
from tests.openhands.servers.agent_server import AgentServer
from tests.openhands.servers.model_server import INPUT_TOKENS, OUTPUT_TOKENS, TITLE, ModelServer
from tests.openhands.servers.proxy import Proxy
from tests.wire_server import WireServer

pytestmark = pytest.mark.openhands

_PLAIN = "Plain answer in pieces."
_PRICED = {"input_cost_per_token": 0.001, "output_cost_per_token": 0.002}


async def test_a_side_question_is_answered_and_is_in_no_turn(server: AgentServer, face: str) -> None:
    with server.client(llm={**server.llm, "stream": False}) as made:
        chat: Any = made if face == "sync" else made.aio
        await _ask_beside(chat)
        await do(chat.close())


async def test_a_server_that_cannot_ask_a_model_that_streams_says_so(chat: Any, server: AgentServer) -> None:
    if server.is_new:
        await _ask_beside(chat)
    else:
        session = chat.session()
        await do(session.ask("TEXT please"))
        with pytest.raises(ConfigurationError, match=r"1\.18\.1 has no side questions.*\"stream\": False"):
            await do(chat.ask_agent(session.id, "How far are you?"))


async def _ask_beside(chat: Any) -> None:
    session = chat.session()
    await do(session.ask("TEXT please"))
    assert await do(chat.ask_agent(session.id, "How far are you?")) in (TITLE, _PLAIN)
    assert [turn.prompt for turn in await do(session.turns())] == ["TEXT please"]
    with pytest.raises(NotFoundError):
        await do(chat.ask_agent(str(uuid.uuid4()), "How far are you?"))
    with pytest.raises(ConfigurationError, match="empty"):
        await do(chat.ask_agent(session.id, " "))


async def test_a_fork_is_a_new_session_with_the_turns_so_far(chat: Any, server: AgentServer) -> None:
    session = chat.session()
    first = await do(session.ask("TEXT one"))
    fork = await do(chat.fork(session.id, title="Another way", tags={"topic": "forks"}))
    assert fork.id != session.id
    summary = await do(fork.summary())
    assert (summary.generated_title, summary.tags["topic"]) == ("Another way", "forks")
    second = await do(fork.ask("TEXT two"))
    # A newer server counts no calls of a model that it was given after the conversation began.
    assert second.usage.input_tokens == (None if server.is_new else INPUT_TOKENS)
    assert [turn.prompt for turn in await do(fork.turns())] == ["TEXT one", "TEXT two"]
    assert [turn.text for turn in await do(session.turns())] == [first.text]
    with pytest.raises(NotFoundError):
        await do(chat.fork(str(uuid.uuid4())))


async def test_a_fork_from_an_event_or_the_word_that_this_server_has_none(chat: Any, server: AgentServer) -> None:
    session = chat.session()
    for prompt in ("TEXT one", "TEXT two"):
        await do(session.ask(prompt))
    answer = (await every(chat.events(session.id, kind="MessageEvent", source="agent")))[0]
    if server.is_new:
        fork = await do(chat.fork(session.id, from_event_id=answer["id"]))
        assert [(turn.prompt, turn.is_complete) for turn in await do(fork.turns())] == [("TEXT one", True)]
        await do(fork.ask("TEXT three"))
        turns = [(turn.prompt, turn.is_complete) for turn in await do(fork.turns())]
        assert turns == [("TEXT one", True), ("TEXT three", True)]
    else:
        with pytest.raises(ConfigurationError, match=r"1\.18\.1 has no forks from an event"):
            await do(chat.fork(session.id, from_event_id=answer["id"]))


async def test_a_session_that_went_back_shows_the_branch_it_is_on(chat: Any, server: AgentServer) -> None:
    session = chat.session()
    await do(session.ask("TOOL one"))
    answers = await every(chat.events(session.id, kind="MessageEvent", source="agent"))
    if not server.is_new:
        with pytest.raises(ConfigurationError, match=r"1\.18\.1 has no branches"):
            await do(chat.navigate(session.id, answers[-1]["id"]))
        return
    await do(session.ask("TOOL two"))
    with pytest.raises(NotFoundError, match="no such event"):
        await do(chat.navigate(session.id, "nothing"))
    await do(chat.navigate(session.id, answers[-1]["id"]))
    assert [turn.prompt for turn in await do(chat.session(session.id).turns())] == ["TOOL one"]
    again = chat.session(session.id)
    third = await do(again.ask("TEXT three"))
    turns = await do(again.turns())
    assert [(turn.prompt, turn.is_complete) for turn in turns] == [("TOOL one", True), ("TEXT three", True)]
    assert turns[1] == third
    assert len(await every(chat.events(session.id, source="user", text="two"))) == 1
    await do(chat.navigate(session.id, None))
    assert await do(chat.session(session.id).turns()) == []


@pytest.mark.parametrize("version", ["1.58.2"])
async def test_no_session_goes_back_while_it_is_answered(chat: Any, model: ModelServer) -> None:
    session = chat.session()
    await do(session.ask("TEXT one"))
    (answer,) = await every(session.events(kind="MessageEvent", source="agent"))
    model.hold()
    async with entered(session.stream("HELD two")) as stream:
        assert await asyncio.to_thread(model.held.wait, 20)
        with pytest.raises(ConflictError, match="still at work"):
            await do(session.navigate(answer["id"]))
        model.release()
        await every(stream)
    assert [turn.prompt for turn in await do(session.turns())] == ["TEXT one", "HELD two"]
    await do(session.navigate(answer["id"]))
    assert [turn.prompt for turn in await do(session.turns())] == ["TEXT one"]


@pytest.mark.parametrize("version", ["1.58.2"])
async def test_a_prompt_after_going_back_is_sent_once_though_its_connection_breaks(
    server: AgentServer, face: str
) -> None:
    lost: list[bytes] = []

    def loses(data: bytes) -> bool:
        is_answer = not lost and b'{"success":true}' in data
        if is_answer:
            lost.append(data)
        return is_answer

    with Proxy(server.port) as proxy, server.client(base_url=proxy.url) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        for prompt in ("TEXT one", "TEXT two"):
            await do(session.ask(prompt))
        answers = await every(session.events(kind="MessageEvent", source="agent"))
        await do(session.navigate(answers[0]["id"]))
        # The answer to the post is lost, and with it the stream. What was counted before would hide the turn.
        proxy.loses = loses
        turn = await do(session.ask("TEXT three"))
        assert lost
        assert turn.text == _PLAIN
        assert [turn.prompt for turn in await do(session.turns())] == ["TEXT one", "TEXT three"]
        assert len(await every(session.events(source="user", text="three"))) == 1
        await do(chat.close())


async def test_a_session_that_is_held_does_what_the_client_does(server: AgentServer, face: str) -> None:
    with server.client(llm={**server.llm, "stream": False}) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        for call in (session.run, session.pause, session.interrupt, lambda: session.workspace):
            with pytest.raises(ConfigurationError, match="does not exist yet"):
                await do(call())
        await do(session.set_tags({"team": "docs"}))
        await do(session.set_confirmation_policy("NeverConfirm"))
        await do(session.update_secrets({"TOKEN": "tk"}))
        assert (await do(session.summary())).tags == {"team": "docs"}
        await do(session.ask("TEXT one"))
        assert await do(session.ask_agent("How far are you?")) in (TITLE, _PLAIN)
        assert len(await every(session.events(source="user"))) == 1
        fork = await do(session.fork(title="Another way"))
        assert isinstance(fork, OpenHandsSession if face == "sync" else AsyncOpenHandsSession)
        assert [turn.prompt for turn in await do(fork.turns())] == ["TEXT one"]
        await do(session.rename("My own"))
        assert (await do(session.summary())).generated_title == "My own"
        assert (await do(session.generate_title(20))).title
        name = f"note-{uuid.uuid4().hex}.txt"
        await do(session.workspace.upload(name, "held"))
        assert await do(session.workspace.download(name)) == b"held"
        await do(session.pause())
        assert await do(session.interrupt()) in ("interrupted", "paused")
        await do(session.run())
        await do(chat.close())


async def test_a_session_and_its_twin_are_of_one_kind(server: AgentServer, version: str) -> None:
    with server.client() as chat:
        session = chat.session()
        assert isinstance(session.aio, AsyncOpenHandsSession)
        await session.aio.set_tags({"team": "docs"})
        assert session.summary().tags == {"team": "docs"}
        await chat.aio.close()


_ROUTES: list[tuple[str, Callable[[Any, str], Any]]] = [
    ("runs", lambda chat, one: chat.run(one)),
    ("pause", lambda chat, one: chat.pause(one)),
    ("side questions", lambda chat, one: chat.ask_agent(one, "Why?")),
    ("confirmation policy", lambda chat, one: chat.set_confirmation_policy(one, "NeverConfirm")),
    ("secrets", lambda chat, one: chat.update_secrets(one, {"A": "b"})),
    ("tags", lambda chat, one: chat.set_tags(one, {"a": "b"})),
    ("forks", lambda chat, one: chat.fork(one)),
    ("branches", lambda chat, one: chat.navigate(one, None)),
    ("names", lambda chat, one: chat.rename(one, "Mine")),
    ("files", lambda chat, one: chat.workspace(one).upload("a", b"")),
    ("files", lambda chat, one: chat.workspace(one).download("a")),
    ("files", lambda chat, one: chat.workspace(one).list()),
]


@pytest.mark.parametrize(("what", "call"), _ROUTES)
@pytest.mark.parametrize("status", [404, 405])
async def test_a_route_that_a_server_lacks_is_an_error_that_names_its_version(
    face: str, what: str, call: Callable[[Any, str], Any], status: int
) -> None:
    one = str(uuid.uuid4())
    info = {"id": one, "execution_status": "idle", "workspace": {"working_dir": "/w"}}
    with WireServer() as wire:
        lacking = {"detail": "Not Found" if status == 404 else "Method Not Allowed"}
        for method in ("POST", "PATCH", "GET"):
            wire.on(method, "", lambda _, connection: connection.respond(status, lacking))
        wire.on("GET", f"/api/conversations/{one}", lambda _, connection: connection.respond(200, info))
        wire.on("GET", "/server_info", lambda _, connection: connection.respond(200, {"version": "0.9.7"}))
        with OpenHandsChat(base_url=wire.url, llm="m", max_retries=0) as made:
            chat: Any = made if face == "sync" else made.aio
            with pytest.raises(ConfigurationError, match=rf"0\.9\.7 has no .*{what}") as caught:
                await do(call(chat, one))
            assert isinstance(caught.value.__cause__, APIStatusError)
            await do(chat.close())


async def test_events_are_filtered_and_paged(chat: Any) -> None:
    session = chat.session()
    await do(session.ask("TOOL please"))
    events = await every(chat.events(session.id, page_size=2))
    assert len({event["id"] for event in events}) == len(events) > 6
    assert [event["id"] for event in await every(chat.events(session.id, newest_first=True))] == [
        event["id"] for event in reversed(events)
    ]
    kinds = {event["kind"] for event in await every(chat.events(session.id, kind="ActionEvent"))}
    assert kinds == {"ActionEvent"}
    (asked,) = await every(chat.events(session.id, source="user"))
    assert asked["llm_message"]["content"][0]["text"] == "TOOL please"
    moment = datetime.fromisoformat(asked["timestamp"])
    before, since = [
        {event["id"] for event in await every(chat.events(session.id, **limit))}
        for limit in ({"until": moment}, {"since": moment})
    ]
    assert asked["id"] in since
    assert before | since == {event["id"] for event in events}
    assert not before & since


async def test_a_pause_ends_the_turn_and_a_run_goes_on(chat: Any, server: AgentServer, model: ModelServer) -> None:
    model.hold()
    session = chat.session()
    async with entered(session.stream("HELD")) as stream:
        model_waits = asyncio.create_task(asyncio.to_thread(model.held.wait))
        await model_waits
        # The old server answers when the model has.
        paused = asyncio.create_task(asyncio.to_thread(server.client().pause, session.id))
        if server.is_new:
            await paused
            with pytest.raises(TurnFailed, match="interrupted"):
                await every(stream)
    model.release()
    await paused
    await do(chat.run(session.id))
    with pytest.raises(NotFoundError):
        await do(chat.run(str(uuid.uuid4())))
    with pytest.raises(NotFoundError):
        await do(chat.pause(str(uuid.uuid4())))


async def test_the_policy_and_the_secrets_of_a_conversation_can_be_changed(server: AgentServer, face: str) -> None:
    with server.client(tools=[{"name": "terminal", "params": {"terminal_type": "subprocess"}}]) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        await do(session.ask("TEXT one"))
        await do(chat.update_secrets(session.id, {"TOKEN": "tk-never-shown"}))
        await do(chat.set_confirmation_policy(session.id, "AlwaysConfirm"))
        with pytest.raises(TurnFailed, match="waits for a confirmation"):
            await do(session.ask("SHELL two"))
        await do(chat.set_confirmation_policy(session.id, {"kind": "NeverConfirm"}))
        await do(chat.respond_to_confirmation(session.id, accept=True))
        # The command reads a secret that it is not shown. The terminal of 1.18.1 may take the setting of the secret for
        # the command, and gives its output with the next one.
        shown = ""
        for _ in range(3):
            run = (await do(session.ask("SECRET three"))).tool_runs[0]
            assert run.status == "completed"
            shown += str(run.result)
            if "length 14" in shown:
                break
        assert "length 14" in shown
        assert "tk-never-shown" not in shown
        fork = await do(session.fork())
        shown = "".join([str((await do(fork.ask("SECRET four"))).tool_runs[0].result) for _ in range(2)])
        assert "length 0" in shown
        await do(chat.close())


async def test_tags_are_in_the_list(chat: Any, server: AgentServer) -> None:
    made = await do(chat.create())
    assert made.tags == {}
    await do(chat.set_tags(made.session_id, {"team": "docs"}))
    (found,) = [item for item in await every(chat.list()) if item.session_id == made.session_id]
    assert found.tags == {"team": "docs"}
    with server.client() as client:
        (hosted,) = [one for one in ChatMemory.list(client) if one.session_id == made.session_id]
        assert hosted.tags == found.tags
        assert SessionMemory.from_session_id(made.session_id, client=client).tags == found.tags


async def test_files_go_to_the_agents_folder_and_come_back(chat: Any, tmp_path: Any) -> None:
    session_id = (await do(chat.create())).session_id
    folder = f"files-{uuid.uuid4().hex}"
    workspace = chat.workspace(session_id)
    path = await do(workspace.upload(f"{folder}/data/numbers.csv", "a,b\n1,2\n"))
    assert path == f"{await do(workspace.folder())}/{folder}/data/numbers.csv"
    await do(workspace.upload(f"{folder}/picture.png", b"\x89PNG\x00\xff"))
    assert await do(workspace.list(folder)) == ["data/", "picture.png"]
    assert await do(workspace.download(f"{folder}/picture.png")) == b"\x89PNG\x00\xff"
    with pytest.raises(NotFoundError, match="no such file on the server"):
        await do(workspace.download("no/such/file"))
    with pytest.raises(ConfigurationError, match="cannot be listed"):
        await do(workspace.list("no/such/folder"))


async def test_a_listing_has_each_name_as_it_is(chat: Any) -> None:
    workspace = chat.workspace((await do(chat.create())).session_id)
    folder = f"names-{uuid.uuid4().hex}"
    names = [
        "-n",
        " lead",
        "a b",
        "back\\n",
        "new\nline",
        "quote'\".txt",
        "tab\t",
        "Übersicht 日本.txt",
        "\u2028x",
        "$HOME*",
    ]
    for name in names:
        await do(workspace.upload(f"{folder}/{name}", name))
    assert await do(workspace.list(folder)) == sorted(names)
    for name in await do(workspace.list(folder)):
        assert await do(workspace.download(f"{folder}/{name}")) == name.encode()
    with pytest.raises(ConfigurationError, match="Not a directory"):
        await do(workspace.list(f"{folder}/a b"))


async def test_tokens_of_caches_and_of_reasoning_are_in_both_frameworks(server: AgentServer, face: str) -> None:
    with server.client(llm={**server.llm, **_PRICED}) as chat:
        model, engine = SessionChatModel(client=chat), SessionChatEngine(client=chat)
        if face == "sync":
            answer, response = model.invoke("CACHED"), engine.chat("CACHED")
        else:
            answer, response = await model.ainvoke("CACHED"), await engine.achat("CACHED")
        assert answer.usage_metadata == {
            "input_tokens": INPUT_TOKENS,
            "output_tokens": OUTPUT_TOKENS,
            "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
            "input_token_details": {"cache_read": 60, "cache_creation": 0},
            "output_token_details": {"reasoning": 15},
        }
        assert answer.response_metadata["turn_usage"]["cost"] > 0
        usage = (response.metadata or {})["usage"]
        assert (usage["cache_read_tokens"], usage["cache_write_tokens"], usage["reasoning_tokens"]) == (60, 0, 15)
        assert usage["cost"] > 0
        chunks = [*model.stream("CACHED")]
        assert chunks[0].usage_metadata is None
        (last,) = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
        assert last["output_token_details"] == {"reasoning": 15}
        await chat.aio.close()


async def test_a_turn_says_its_cost_and_what_its_tokens_were(server: AgentServer, face: str) -> None:
    with server.client(llm={**server.llm, **_PRICED}) as made:
        chat: Any = made if face == "sync" else made.aio
        session = chat.session()
        await do(session.ask("TOOL one"))
        usage = (await do(session.ask("TEXT two"))).usage
        assert (usage.cache_read_tokens, usage.cache_write_tokens) == (0, 0)
        assert usage.reasoning_tokens is not None
        cost = INPUT_TOKENS * 0.001 + OUTPUT_TOKENS * 0.002
        assert usage.cost == pytest.approx(cost)
        summary = await do(session.summary())
        assert summary.job_metadata.cost == pytest.approx(3 * cost)
        await do(chat.close())
