"""What a client is made of, and what it refuses, before anything is sent."""

from __future__ import annotations

import inspect
import pickle
import uuid
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Close

from chat_sessions.core.errors import AuthenticationError, ConfigurationError, NotFoundError, ProtocolError
from chat_sessions.core.models import ImageAttachment
from chat_sessions.http.calls import Call
from chat_sessions.openhands import AsyncOpenHandsChat, ConfirmationRequest, OpenHandsChat
from chat_sessions.openhands.live.sockets import address, check_host, closing_error, decode
from chat_sessions.openhands.live.turn import LiveTurn
from chat_sessions.openhands.settings import Settings, check_id
from chat_sessions.openhands.titles import found, generated, title_llm
from chat_sessions.openhands.wire import read_object, read_summary, refusal
from chat_sessions.session import AsyncBackend, Backend

_KEY = "key-1234"


def settings(**arguments: Any) -> Settings:
    given = {
        "base_url": "http://127.0.0.1:8000",
        "api_key": _KEY,
        **dict.fromkeys(("llm", "agent", "tools", "workspace", "conversation", "timeouts")),
        "max_retries": 2,
        "max_event_bytes": 1024,
    }
    return Settings.resolve(**{**given, **arguments})


def test_a_model_a_workspace_and_tools_make_an_agent() -> None:
    made = settings(
        llm={"model": "openai/gpt", "api_key": "sk"},
        tools=["terminal", {"name": "file_editor", "params": {"a": 1}}],
        workspace="/srv/project",
        conversation={"max_iterations": 5},
    )
    body = made.new_conversation()
    assert body.pop("conversation_id")
    assert body == {
        "workspace": {"kind": "LocalWorkspace", "working_dir": "/srv/project"},
        "agent": {
            "kind": "Agent",
            "llm": {"usage_id": "agent", "stream": True, "model": "openai/gpt", "api_key": "sk"},
            "tools": [{"name": "terminal"}, {"name": "file_editor", "params": {"a": 1}}],
        },
        "max_iterations": 5,
    }


def test_an_agent_of_ones_own_keeps_what_it_says() -> None:
    body = settings(agent={"kind": "MyAgent", "llm": {"model": "m"}, "x": 1}, llm="openai/other").new_conversation()
    assert body["agent"] == {"kind": "MyAgent", "llm": {"model": "m"}, "x": 1}


def test_an_agent_of_the_server_is_named_by_its_profile() -> None:
    body = settings(agent="8c6f").new_conversation()
    assert body["agent_profile_id"] == "8c6f"
    assert "agent" not in body


def test_the_environment_names_the_server_the_key_and_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "OPENHANDS_BASE_URL": "https://agents.example/api/",
        "OPENHANDS_API_KEY": _KEY,
        "LLM_MODEL": "openai/gpt",
        "LLM_API_KEY": "sk",
        "LLM_BASE_URL": "http://127.0.0.1:1/v1",
    }.items():
        monkeypatch.setenv(name, value)
    made = settings(base_url=None, api_key=None)
    assert made.route.base_url == "https://agents.example"
    assert made.request_headers()["X-Session-API-Key"] == _KEY
    assert made.llm == {
        "usage_id": "agent",
        "stream": True,
        "model": "openai/gpt",
        "api_key": "sk",
        "base_url": "http://127.0.0.1:1/v1",
    }


def test_each_new_conversation_has_an_id_of_its_own() -> None:
    made = settings(llm="m")
    assert made.new_conversation()["conversation_id"] != made.new_conversation()["conversation_id"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"base_url": None}, "OPENHANDS_BASE_URL"),
        ({"base_url": "ftp://x"}, "http or https"),
        ({"base_url": "http://user:pw@x"}, "no user"),
        ({"base_url": "http://x:port"}, "not an address"),
        ({"base_url": "http://xn--a"}, "base_url is not an address"),
        ({"api_key": "a b"}, "white space"),
        ({"llm": {"api_key": "sk"}}, 'no "model"'),
        ({"llm": "m", "tools": "terminal"}, "list of names"),
        ({"agent": "8c6f", "tools": ["terminal"]}, "not both"),
        ({"base_url": 5}, "base_url must be a string; got int"),
        ({"api_key": 5}, "api_key must be a string; got int"),
        ({"llm": 5}, "llm must be the name of a model"),
        ({"agent": 5}, "agent must be the name or the id of a profile"),
        ({"tools": 5}, "tools must be a list of names"),
        ({"llm": "m", "tools": [5]}, "each of tools must be a name"),
        ({"workspace": 5}, "workspace must be a folder's path"),
        ({"conversation": "c"}, "conversation must be settings"),
        ({"timeouts": 30}, "timeouts must be"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_event_bytes": 0}, "max_event_bytes"),
    ],
)
def test_settings_that_cannot_work_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        settings(**arguments)


def test_an_address_of_the_environment_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENHANDS_BASE_URL", "http://xn--a")
    with pytest.raises(ConfigurationError, match=r"^OPENHANDS_BASE_URL is not an address: 'http://xn--a'"):
        settings(base_url=None)


def test_without_an_agent_a_create_says_what_to_give() -> None:
    with pytest.raises(ConfigurationError, match="pass llm="):
        OpenHandsChat(base_url="http://127.0.0.1:1").create()


@pytest.mark.parametrize("prompt", ["", " \n", "half a \ud83d"])
def test_a_prompt_that_cannot_be_sent_is_refused(prompt: str) -> None:
    with pytest.raises(ConfigurationError):
        OpenHandsChat(base_url="http://127.0.0.1:1").session().stream(prompt)


def test_an_id_that_is_none_is_refused_and_one_without_hyphens_is_read() -> None:
    with pytest.raises(ConfigurationError, match="which is a UUID"):
        check_id("../secrets")
    assert check_id("11111111111141118111111111111111") == "11111111-1111-4111-8111-111111111111"


def test_no_key_is_in_a_repr() -> None:
    chat = OpenHandsChat(base_url="http://127.0.0.1:1", api_key=_KEY, llm={"model": "m", "api_key": "sk-secret"})
    for thing in (chat, chat.aio, chat._settings, chat.session()):
        assert _KEY not in repr(thing)
        assert "sk-secret" not in repr(thing)


def test_the_key_is_in_no_address_of_a_socket() -> None:
    made = settings(base_url="https://agents.example:8443/prefix")
    turn = LiveTurn("x")
    assert address(made, "id", "session") == "wss://agents.example:8443/prefix/sockets/session/id"
    assert address(made, "id", "session", turn).endswith("?after_seq=-1")
    turn.last_seq, turn.last_time = 4, "2026-11-21T19:32:34.149071"
    assert address(made, "id", "session", turn).endswith("?after_seq=4")
    assert address(made, "id", "events", turn).endswith(
        "?resend_mode=since&after_timestamp=2026-11-21T19%3A32%3A34.149071"
    )


def test_a_socket_that_was_redirected_elsewhere_gets_no_key() -> None:
    made = settings(base_url="https://agents.example")
    check_host(made, "agents.example")
    with pytest.raises(ProtocolError, match="redirected to evil"):
        check_host(made, "evil.example")


@pytest.mark.parametrize("data", ["{", "[1]", b"\xff"])
def test_a_frame_that_is_no_object_is_a_protocol_error_that_quotes_it(data: str | bytes) -> None:
    with pytest.raises(ProtocolError, match="frame"):
        decode(data)


def test_a_title_is_one_line_without_quotes_and_not_too_long() -> None:
    made = generated({"response": '"A long title"\nand more'}, "response", 8, "asked")
    assert (made.title, made.origin) == ("A long…", "asked")
    assert generated({}, "response", 8, "asked").title == ""
    assert found({"title": None}, 8, "existing") is None


def test_a_title_is_made_by_a_model_that_does_not_stream() -> None:
    assert title_llm(None, None) is None
    made = title_llm("openai/other", {"model": "m", "stream": True})
    assert made is not None
    assert {**made, "usage_id": None} == {"usage_id": None, "stream": False, "model": "openai/other"}


def test_each_model_of_a_title_has_a_name_of_its_own_and_a_given_name_is_kept() -> None:
    def name(**llm: Any) -> Any:
        made = title_llm({"model": "openai/other", **llm}, None)
        assert made is not None
        return made["usage_id"]

    assert name() == name() != name(api_key="another key")
    assert str(name(api_key="a key")).startswith("title-")
    assert name(usage_id="mine") == "mine"


@pytest.mark.parametrize("length", ["50", None, True, 50.5, 0, 201, -1])
def test_a_length_that_is_no_number_of_characters_is_refused(length: Any) -> None:
    with OpenHandsChat(base_url="http://127.0.0.1:1") as chat, pytest.raises(ConfigurationError, match="1 to 200"):
        chat.generate_title("11111111-1111-4111-8111-111111111111", length)


def test_a_client_is_a_backend_and_its_twin_an_async_one() -> None:
    chat = OpenHandsChat(base_url="http://127.0.0.1:1")
    # What is checked here is checked by the type checkers.
    backend: Backend = chat
    twin: AsyncBackend = chat.aio
    assert (backend.service, twin.service, backend.index_ids) == ("openhands", "openhands", ())
    assert backend.queue_key("x") == twin.queue_key("x")


@pytest.mark.parametrize(
    "name",
    sorted(
        name
        for name, value in inspect.getmembers(OpenHandsChat, inspect.isfunction)
        if not name.startswith("_") and name != "open_turn"
    ),
)
def test_the_async_twin_takes_the_same_arguments(name: str) -> None:
    ours = inspect.signature(getattr(OpenHandsChat, name)).parameters
    twins = inspect.signature(getattr(AsyncOpenHandsChat, name)).parameters
    assert list(ours.values()) == list(twins.values())


def test_a_client_for_both_kinds_of_code_is_made_with_the_same_settings() -> None:
    ours = set(inspect.signature(OpenHandsChat).parameters)
    assert ours - set(inspect.signature(AsyncOpenHandsChat).parameters) == {"async_http_client"}


def test_a_service_without_attachments_says_so() -> None:
    with pytest.raises(ConfigurationError, match="no attachments"):
        OpenHandsChat(base_url="http://127.0.0.1:1").attachment_url(
            ImageAttachment(attachment_name="page.png", source_id="s")
        )


def test_an_error_tells_what_the_server_says_of_it() -> None:
    body = {"detail": "Internal Server Error", "exception": "ToolDefinition 'x' is not registered"}
    answer = httpx.Response(500, json=body)
    made = refusal(Call("POST", "/api/conversations", may_repeat=True), 500, answer.headers, answer.content)
    assert "ToolDefinition 'x' is not registered" in str(made)
    assert made.body == body


@pytest.mark.parametrize(
    ("path", "detail", "hint"),
    [
        ("/api/conversations/x/fork", "Unknown from_event_id: y", "no such event: the ids are those of events()"),
        ("/api/conversations/x/navigate", "Unknown event_id: y", "no such event: the ids are those of events()"),
        ("/api/conversations/x/navigate", "Conversation not found", "no such conversation: check the id"),
        ("/api/conversations/x/fork", "Source conversation not found", "no such conversation: check the id"),
        ("/api/conversations/x/switch_profile", "Profile 'y' not found", "does not have what was named"),
        ("/api/file/download", "File not found", "no such file on the server"),
        ("/api/conversations/x", "Not Found", "base_url is the address of an OpenHands Agent Server"),
    ],
)
def test_an_error_says_what_is_not_there(path: str, detail: str, hint: str) -> None:
    answer = httpx.Response(404, json={"detail": detail})
    made = refusal(Call("POST", path, may_repeat=True), 404, answer.headers, answer.content)
    assert hint in str(made)
    assert detail in str(made)
    assert ("base_url" in str(made)) == (detail == "Not Found")


def test_a_file_that_the_server_cannot_write_is_not_said_to_be_a_failure_that_may_pass() -> None:
    body = {"detail": "Internal Server Error", "exception": "500: Failed to upload file: [Errno 21] Is a directory"}
    answer = httpx.Response(500, json=body)
    made = refusal(Call("POST", "/api/file/upload", may_repeat=True), 500, answer.headers, answer.content)
    assert "could not read or write the file" in str(made)
    assert "Is a directory" in str(made)
    assert "prompt" not in str(made)


@pytest.mark.parametrize("content", [b"<html>", b"[]"])
def test_an_answer_that_is_no_object_is_a_protocol_error(content: bytes) -> None:
    call = Call("GET", "/api/conversations/x", may_repeat=True)
    with pytest.raises(ProtocolError, match="is base_url an OpenHands Agent Server"):
        read_object(call, content)
    with pytest.raises(ProtocolError, match="not a conversation"):
        read_summary(call, {"id": 1})


@pytest.mark.parametrize(("code", "error"), [(4001, AuthenticationError), (4004, NotFoundError), (1012, None)])
def test_the_code_of_a_socket_that_the_server_closed_is_an_error(code: int, error: type[Exception] | None) -> None:
    meaning = closing_error(ConnectionClosedError(Close(code, ""), Close(code, ""), rcvd_then_sent=True), "id", 10)
    assert meaning is None if error is None else isinstance(meaning, error)


def test_an_event_over_the_limit_is_a_protocol_error_that_names_the_limit() -> None:
    closed = ConnectionClosedError(None, Close(1009, "frame exceeds limit"), rcvd_then_sent=None)
    assert "max_event_bytes" in str(closing_error(closed, "id", 10))


def test_a_pickle_holds_no_key_of_any_kind() -> None:
    made = settings(llm={"model": "m", "api_key": "sk-secret"}, conversation={"secrets": {"x": "sk-other"}})
    data = pickle.dumps(made)
    assert not any(secret in data for secret in (_KEY.encode(), b"sk-secret", b"sk-other"))
    assert pickle.loads(data).route.base_url == made.route.base_url


def unpickled(**options: Any) -> Settings:
    again: Settings = pickle.loads(pickle.dumps(settings(**options)))
    return again


@pytest.mark.parametrize("llm", ["openai/m", {"model": "openai/m", "stream": False}, {"profile": "fast"}])
def test_a_pickle_keeps_an_agent_that_holds_no_key(monkeypatch: pytest.MonkeyPatch, llm: Any) -> None:
    monkeypatch.setenv("LLM_API_KEY", "sk-secret")
    options: dict[str, Any] = {
        "llm": llm,
        "tools": ["terminal"],
        "workspace": "/w",
        "conversation": {"confirmation_policy": {"kind": "AlwaysConfirm"}, "max_iterations": 3},
    }
    made = settings(**options)
    assert b"sk-secret" not in pickle.dumps(made)
    monkeypatch.setenv("LLM_MODEL", "other/model")
    again = unpickled(**options)
    assert (again.conversation, again.llm, again.llm_profile) == (made.conversation, made.llm, made.llm_profile)
    assert again.new_conversation().keys() == made.new_conversation().keys()


def test_a_pickle_keeps_a_profile_on_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_MODEL", "other/model")
    assert unpickled(agent="careful").conversation == settings(agent="careful").conversation


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"agent": {"kind": "ACPAgent", "acp_command": ["x"]}}, "without agent,"),
        ({"llm": "m", "tools": [{"name": "terminal", "params": {"x": "sk-secret"}}]}, "without agent,"),
        ({"llm": "m", "conversation": {"secrets": {"x": "sk-secret"}, "plugins": []}}, "without secrets, plugins,"),
        ({"llm": "m", "workspace": {"kind": "RemoteWorkspace", "api_key": "sk-secret"}}, "without workspace,"),
        ({"llm": "m", "conversation": {"confirmation_policy": {"token": "sk-secret"}}}, "without confirmation_policy,"),
    ],
)
def test_an_unpickled_client_makes_no_conversation_without_what_may_hold_a_key(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], named: str
) -> None:
    monkeypatch.setenv("LLM_MODEL", "other/model")
    assert b"sk-secret" not in pickle.dumps(settings(**options))
    for again in (unpickled(**options), pickle.loads(pickle.dumps(unpickled(**options)))):
        with pytest.raises(ConfigurationError, match=f"unpickled {named}.*make a client with them again"):
            again.new_conversation()


def test_the_environment_has_a_model_in_place_of_one_whose_key_a_pickle_does_not_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    again = unpickled(llm={"model": "openai/m", "api_key": "sk-secret"}, tools=["terminal"])
    with pytest.raises(
        ConfigurationError, match=r"unpickled without llm.*make a client with llm= again, or set LLM_MODEL"
    ):
        again.new_conversation()
    monkeypatch.setenv("LLM_MODEL", "other/model")
    again = unpickled(llm={"model": "openai/m", "api_key": "sk-secret"}, tools=["terminal"])
    assert again.new_conversation()["agent"] == settings(llm="other/model", tools=["terminal"]).conversation["agent"]


def _allow(request: ConfirmationRequest) -> bool:
    return True


def test_a_pickle_keeps_the_function_that_answers_an_agent_or_is_refused() -> None:
    chat = OpenHandsChat(base_url="http://127.0.0.1:1", on_confirmation=_allow)
    for original in (chat, chat.aio):
        assert pickle.loads(pickle.dumps(original))._on_confirmation is _allow
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        pickle.dumps(OpenHandsChat(base_url="http://127.0.0.1:1", on_confirmation=lambda request: True))


def test_tags_and_secrets_that_no_server_takes_are_refused_before_any_request() -> None:
    chat = OpenHandsChat(base_url="http://127.0.0.1:1")
    session_id: Any = str(uuid.uuid4())
    wrong: Any
    for wrong in ({"A B": "c"}, {"": "c"}, {"a": 1}):
        with pytest.raises(ConfigurationError, match="tag"):
            chat.set_tags(session_id, wrong)
        with pytest.raises(ConfigurationError, match="tag"):
            chat.fork(session_id, tags=wrong)
    empty: dict[str, str] = {}
    for wrong in ("", None, 5, empty):
        with pytest.raises(ConfigurationError, match="secret 'TOKEN'"):
            chat.update_secrets(session_id, {"TOKEN": wrong})
    chat.close()
