"""Where the service is and who asks: from arguments, else from the environment, checked before any request."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from chat_sessions import ConfigurationError, LlamaCloudChat, Timeouts


def test_without_a_key_the_error_says_where_one_can_come_from() -> None:
    with pytest.raises(ConfigurationError, match=r"api_key=.*LLAMA_CLOUD_API_KEY.*LocalServer"):
        LlamaCloudChat()


@pytest.mark.parametrize("name", ["LLAMA_CLOUD_API_KEY", "LLAMA_PARSE_API_KEY"])
def test_the_key_comes_from_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, " env-key ")
    assert LlamaCloudChat()._settings.request_headers()["Authorization"] == "Bearer env-key"


def test_arguments_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", "env")
    monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", "https://env.example")
    monkeypatch.setenv("LLAMA_CLOUD_PROJECT_ID", "env-p")
    monkeypatch.setenv("LLAMA_CLOUD_ORGANIZATION_ID", "env-o")
    given = LlamaCloudChat(
        api_key=SecretStr("arg"), base_url="https://arg.example", project_id="p", organization_id="o"
    )
    assert (given.base_url, given._settings.params) == (
        "https://arg.example",
        {"project_id": "p", "organization_id": "o"},
    )
    assert given._settings.request_headers()["Authorization"] == "Bearer arg"
    taken = LlamaCloudChat()
    assert (taken.base_url, taken._settings.params) == (
        "https://env.example",
        {"project_id": "env-p", "organization_id": "env-o"},
    )


def test_custom_headers_are_read_as_the_official_sdk_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CLOUD_CUSTOM_HEADERS", "X-A: 1\nnonsense\nX-B: two: parts\n: empty")
    headers = LlamaCloudChat(api_key="k", headers={"X-A": "mine"})._settings.request_headers()
    assert (headers["X-A"], headers["X-B"]) == ("mine", "two: parts")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, "https://api.cloud.llamaindex.ai"),
        ("https://x.example/", "https://x.example"),
        ("https://x.example/api/v1/", "https://x.example"),
        ("api.cloud.eu.llamaindex.ai", "https://api.cloud.eu.llamaindex.ai"),
        ("http://127.0.0.1:8000/prefix", "http://127.0.0.1:8000/prefix"),
    ],
)
def test_a_base_url_is_taken_as_people_write_it(given: str | None, expected: str) -> None:
    assert LlamaCloudChat(api_key="k", base_url=given).base_url == expected


def test_a_region_names_its_address() -> None:
    assert LlamaCloudChat(api_key="k", region="eu").base_url == "https://api.cloud.eu.llamaindex.ai"
    assert LlamaCloudChat(api_key="k", region="us").base_url == "https://api.cloud.llamaindex.ai"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"base_url": "ftp://x"}, "must be an http or https address"),
        ({"base_url": "https://"}, "must be an http or https address"),
        ({"base_url": "https://x:port"}, "is not an address"),
        ({"base_url": "https://a..b"}, "is not an address"),
        ({"base_url": f"https://{'a' * 64}.test"}, "is not an address"),
        ({"base_url": "https://xn--a"}, "is not an address: 'https://xn--a'"),
        ({"base_url": "https://user:pw@x"}, "no user, query or fragment"),
        ({"base_url": "https://x/?project_id=p"}, "no user, query or fragment"),
        ({"base_url": "https://x/#top"}, "no user, query or fragment"),
        ({"base_url": "https://x/?"}, "no user, query or fragment"),
        ({"base_url": "https://x#"}, "no user, query or fragment"),
        ({"headers": {"Content-Length": "5"}}, "'Content-Length' cannot be set"),
        ({"headers": {"transfer-encoding": "chunked"}}, "'transfer-encoding' cannot be set"),
        ({"region": "mars"}, "region must be one of us, eu; got 'mars'"),
        ({"region": "eu", "base_url": "https://x"}, "not both"),
        ({"api_key": "two words"}, "white space"),
        ({"api_key": "schlüssel"}, "characters that a key cannot have"),
        ({"max_retries": -1}, "max_retries must be 0 or more"),
        ({"max_event_bytes": 0}, "max_event_bytes must be more than 0"),
        ({"index_ids": "idx-1"}, "must be a list of ids; got the string 'idx-1'"),
        ({"index_ids": []}, "index_ids is empty"),
        ({"index_ids": ["idx-1", ""]}, "holds an empty id"),
        ({"index_ids": [5]}, "index_ids must hold strings; got 5"),
        ({"api_key": 5}, "api_key must be a string; got int"),
        ({"base_url": 5}, "base_url must be a string; got int"),
        ({"project_id": 5}, "project_id must be a string; got int"),
        ({"organization_id": b"o"}, "organization_id must be a string; got bytes"),
        ({"headers": [("a", "b")]}, "headers must be a mapping of names to values; got list"),
        ({"proxy": 5}, "proxy must be a string; got int"),
        ({"verify": None}, "verify must be a bool, a path or an ssl.SSLContext; got NoneType"),
        ({"timeouts": 30}, r"timeouts must be chat_sessions\.Timeouts, such as Timeouts\(idle=30\); got int"),
        ({"max_retries": "2"}, "max_retries must be a whole number; got str"),
        ({"max_event_bytes": None}, "max_event_bytes must be a whole number; got NoneType"),
        ({"max_prompt_chars": "9"}, "max_prompt_chars must be a whole number, or None; got str"),
        ({"index_ids": [f"idx-{n}" for n in range(11)]}, "10 indexes at most; got 11"),
    ],
)
def test_what_cannot_work_is_refused_when_the_client_is_made(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        LlamaCloudChat(**{"api_key": "k", **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize("address", ["https://user:12hidden/34@x", "//user:hidden@x", "https:///user:hidden@x"])
def test_an_address_that_may_hold_a_password_is_not_quoted(address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^base_url (is not an address|must be an http or https address)$"):
        LlamaCloudChat(api_key="k", base_url=address)


def test_an_address_of_the_environment_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", "https://xn--a")
    with pytest.raises(ConfigurationError, match=r"^LLAMA_CLOUD_BASE_URL is not an address: 'https://xn--a'"):
        LlamaCloudChat(api_key="k")


def test_a_deadline_beyond_what_a_float_can_be_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"timeouts\.idle must be [\d,]+ s at most"):
        Timeouts(idle=10**400)


@pytest.mark.parametrize("value", [-1, float("nan"), "5"])
def test_a_deadline_that_is_no_time_is_refused(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"timeouts\.idle must be seconds"):
        Timeouts(idle=value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("", "the prompt is empty"),
        (" \n", "the prompt is empty"),
        ("x" * 1001, "1,001 characters long"),
        ("\ud83d", "surrogate"),
        (5, "must be a string; got int"),
    ],
)
def test_a_prompt_that_cannot_be_sent_is_refused_before_any_request(prompt: str, said: str) -> None:
    chat = LlamaCloudChat(api_key="k", base_url="http://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match=said):
        chat.stream("ses-1", prompt)
    with pytest.raises(ConfigurationError, match=said):
        chat.aio.session().stream(prompt)


def test_the_limit_of_a_prompt_can_be_moved() -> None:
    LlamaCloudChat(api_key="k", max_prompt_chars=None).check_turn("x" * 5000, None)
    with pytest.raises(ConfigurationError, match="the service takes 5"):
        LlamaCloudChat(api_key="k", max_prompt_chars=5).check_turn("x" * 6, None)


def test_no_repr_shows_the_key_or_a_header() -> None:
    chat = LlamaCloudChat(api_key="secret-key", headers={"X-Other": "secret-too"})
    shown = [chat, chat.aio, chat._settings, chat.session("ses-1"), chat.aio.session("ses-1"), vars(chat)]
    assert "secret" not in repr(shown)
