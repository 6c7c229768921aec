"""What an engine and an agent may be made with."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from llama_index.core.callbacks import LlamaDebugHandler

from chat_sessions import ConfigurationError, LlamaCloudChat, Timeouts
from chat_sessions.llama_index import SessionAgent, SessionChatEngine, SessionMemory
from tests.llama_index.conftest import KEY, METHODS, Serve, ask


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda engine, chat: engine.from_session("ses-abc"),
            r"not str; .* SessionChatEngine\(client=chat, session_id=",
        ),
        (lambda engine, chat: engine(client="llx-secret"), "client is of type str: give a client"),
        (
            lambda engine, chat: engine(client=chat, system_prompt="Be brief."),
            "takes no system_prompt: it takes client",
        ),
        (lambda engine, chat: engine(client=chat, indexes=["idx"]), "no argument indexes; did you mean index_ids?"),
        (lambda engine, chat: engine(client=chat, sesion_id="ses-1"), "no argument sesion_id; did you mean session_id"),
        (lambda engine, chat: engine(api_kye="llx-secret"), "no argument api_kye; did you mean api_key?"),
        (lambda engine, chat: engine(client=chat, api_key="llx-secret"), "api_key: give it to the client"),
        (lambda engine, chat: engine.from_defaults(llm=None), "no from_defaults: make it by its constructor"),
    ],
)
def test_an_engine_that_cannot_be_made_so_says_how_it_can(
    serve: Serve, make: Callable[[Any, LlamaCloudChat], object], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says) as raised:
        make(SessionChatEngine, serve())
    assert "llx-secret" not in str(raised.value)


def test_an_engine_makes_its_client_from_the_arguments_that_every_service_has(serve: Serve) -> None:
    chat = serve()
    engine = SessionChatEngine(
        api_key=KEY,
        base_url=chat.base_url,
        project_id=str(uuid4()),
        organization_id=str(uuid4()),
        timeout=9,
        max_retries=1,
        index_ids=["idx"],
    )
    client = engine.client
    assert isinstance(client, LlamaCloudChat)
    assert client.timeouts == Timeouts(first_event=9, idle=9)
    assert KEY not in repr(engine) + repr(client)
    assert engine.chat("How much?").response == "Revenue was 84.2."
    client.close()


@pytest.mark.parametrize("argument", ["temperature", "max_tokens", "verbose", "streaming", "model"])
def test_an_argument_of_other_engines_that_has_no_meaning_here_warns(serve: Serve, argument: str) -> None:
    arguments: dict[str, Any] = {argument: 0}
    with pytest.warns(UserWarning, match=f"{argument} is not sent") as caught:
        engine = SessionChatEngine(client=serve(), **arguments)
    assert caught[0].filename == __file__
    assert engine.chat("How much?").response == "Revenue was 84.2."


def test_an_engine_without_a_client_is_made_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="LLAMA_CLOUD_API_KEY"):
        SessionChatEngine()
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", "key-1")
    monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", "http://127.0.0.1:9")
    assert SessionChatEngine().client.service == "llama_cloud"


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
def test_an_async_client_is_refused_with_the_way_out(serve: Serve) -> None:
    chat = serve()
    makes: tuple[Callable[[Any], object], ...] = (
        lambda client: SessionChatEngine(client=client),
        lambda client: SessionChatEngine.from_session(client.session()),
        lambda client: SessionAgent(client=client),
        lambda client: SessionMemory(client=client).get(),
    )
    for make in makes:
        with pytest.raises(ConfigurationError, match=r"give the sync one, async methods go through its \.aio"):
            make(chat.aio)


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("indexes", "did you mean index_ids?"),
        ("sesion_id", "did you mean session_id?"),
        ("colour", "takes no colour: "),
    ],
)
def test_an_argument_that_an_agent_does_not_have_is_named(serve: Serve, argument: str, says: str) -> None:
    arguments: dict[str, Any] = {argument: "x"}
    with pytest.raises(ConfigurationError) as raised:
        SessionAgent(client=serve(), **arguments)
    assert says in str(raised.value)


def test_a_list_of_handlers_is_no_callback_manager(serve: Serve) -> None:
    handlers: Any = [LlamaDebugHandler()]
    chat = serve()
    for make in (SessionChatEngine, SessionAgent):
        with pytest.raises(ConfigurationError, match=r"is of type list: give a CallbackManager\(\[...\]\)"):
            make(client=chat, callback_manager=handlers)


@pytest.mark.parametrize("session_id", ["", 3])
def test_what_is_no_id_of_a_session_is_refused_before_any_turn(serve: Serve, session_id: Any) -> None:
    chat = serve()
    for make in (SessionChatEngine, SessionAgent):
        with pytest.raises(ConfigurationError, match=r"session_id is empty|the session id must be a string"):
            make(client=chat, session_id=session_id)


def test_the_key_that_an_engine_is_given_is_in_no_traceback(serve: Serve) -> None:
    with pytest.raises(ConfigurationError) as raised:
        SessionChatEngine(client=serve(), api_key=KEY)
    frames = [frame for frame, _ in traceback.walk_tb(raised.tb)][1:]
    shown = [repr(value) for frame in frames for name, value in frame.f_locals.items() if name != "self"]
    assert shown
    assert not any(KEY in value for value in shown)


# A workflow agent of LlamaIndex has each of its attributes looked at when it is made.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
async def test_a_first_turn_without_an_index_creates_no_session_whatever_asks(serve: Serve) -> None:
    chat = serve(with_indexes=False)
    for method in METHODS:
        with pytest.raises(ConfigurationError, match="no index to query"):
            await ask(SessionChatEngine(client=chat), method)
    engine = SessionChatEngine(client=chat)
    with pytest.raises(ConfigurationError, match="no index to query"):
        engine.as_query_engine().query("How much?")
    with pytest.raises(ConfigurationError, match="no index to query"):
        await engine.as_tool("docs", "Knows the documents.").acall("How much?")
    with pytest.raises(ConfigurationError, match="no index to query"):
        await SessionAgent(client=chat).run(user_msg="How much?")
    assert list(chat.list()) == []


def test_a_string_is_no_list_of_indexes(serve: Serve) -> None:
    chat = serve()
    makers: list[Callable[..., object]] = [SessionChatEngine, SessionAgent, SessionMemory]
    for make in makers:
        with pytest.raises(ConfigurationError, match="index_ids must be a list of ids; got the string 'idx'"):
            make(client=chat, index_ids="idx")
        with pytest.raises(ConfigurationError, match="index_ids must be a list of ids, not a int"):
            make(client=chat, index_ids=5)
