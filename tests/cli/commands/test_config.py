"""The config file: what commands use where neither an option nor the environment says."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from chat_sessions.cli.where.choice import Where
from chat_sessions.cli.where.config_file import NAMES, SECRETS, Config, config_path
from chat_sessions.core.errors import ConfigurationError
from tests.cli.conftest import DOCUMENTS, KEY, Commands, Serving, at

MARGIN = "What was the operating margin in Q3 2025?"
EU = "https://api.cloud.eu.llamaindex.ai"


@pytest.fixture(autouse=True)
def no_service_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LLAMA_CLOUD_API_KEY", "LLAMA_PARSE_API_KEY", "LLAMA_CLOUD_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def written(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({name.replace("_", "-"): value for name, value in values.items()}))


def test_what_is_set_is_shown_and_can_be_removed_again(command: Commands, config_file: Path) -> None:
    assert command("config", "show").err == f"Nothing is set in {config_file}\n"
    assert command("config", "set", "region", "eu").err == f"Set region in {config_file}\n"
    assert command("config", "set", "index", "idx-a", "idx-b").code == 0
    assert command("config", "show").out == "region = eu\nindex = idx-a, idx-b\n"
    assert command("config", "show", "--json").json == {"region": "eu", "index": "idx-a, idx-b"}
    assert command("config", "unset", "region").code == 0
    assert command("config", "show").out == "index = idx-a, idx-b\n"
    assert command("config", "path").out == f"{config_file}\n"


def test_without_a_variable_the_file_is_in_the_users_config_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CHAT_SESSIONS_CONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert config_path().is_relative_to(tmp_path)
    assert config_path().parts[-2:] == ("chat-sessions", "config.json")


def test_a_key_is_kept_only_if_asked_for_and_shown_to_nobody(command: Commands, config_file: Path) -> None:
    refused = command("config", "set", "api-key", stdin=f"{KEY}\n")
    assert (refused.code, config_file.exists()) == (2, False)
    assert "prefer the variable LLAMA_CLOUD_API_KEY, or add --in-clear" in refused.err
    typed = command("config", "set", "api-key", KEY, "--in-clear")
    assert (typed.code, config_file.exists()) == (2, False)
    assert KEY not in typed.err
    assert command("config", "set", "api-key", "--in-clear", stdin=f"{KEY}\n").code == 0
    assert stat.S_IMODE(config_file.stat().st_mode) == 0o600
    shown = command("config", "show")
    assert shown.out == "api-key = **********\n"
    assert KEY not in repr(Config.read(config_file))
    assert KEY not in command("config", "show", "--json").out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "Invalid JSON"),
        ("[]", "must be an object"),
        ('{"idnex": "idx-a"}', "idnex is not known; the names are backend, base-url"),
        ('{"base-url": "nowhere"}', "base-url: must be an address"),
        ('{"region": "eu", "base-url": "http://127.0.0.1:1"}', "base-url and region cannot be combined"),
        ('{"backend": "other"}', "backend: must be 'llama-cloud' or 'openhands'"),
        ('{"api-key": ["llx-secret-key"]}', "api-key: must be a text"),
        ("\xff", "Invalid JSON"),
    ],
)
@pytest.mark.parametrize("arguments", [("ask", "Hi", "-i", str(DOCUMENTS)), ("sessions", "list"), ("config", "show")])
def test_a_file_that_cannot_be_understood_is_an_error_that_names_it(
    command: Commands, config_file: Path, content: str, said: str, arguments: tuple[str, ...]
) -> None:
    config_file.write_bytes(content.encode("latin-1"))
    result = command(*arguments)
    assert result.code == 2
    assert f"Error: the config file {config_file} is not usable: " in result.err
    assert said in result.err
    assert "llx-secret-key" not in result.err


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(command: Commands, config_file: Path) -> None:
    config_file.mkdir()
    result = command("sessions", "list")
    assert (result.code, f"the config file {config_file} cannot be read" in result.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["idnex", "x"], "'idnex' is not known; the names are backend, base-url"),
        (["region", "mars"], "region: must be 'us' or 'eu'"),
        (["region", "us", "eu"], "region takes one value"),
        (["index"], "index takes at least one value"),
        (["index", *"abcdefghijk"], "10 entries at most"),
        (["api-key", "--in-clear"], "api-key: "),
    ],
)
def test_what_cannot_be_set_is_refused_and_changes_nothing(
    command: Commands, config_file: Path, arguments: list[str], said: str
) -> None:
    result = command("config", "set", *arguments)
    assert (result.code, said in result.err, config_file.exists()) == (2, True, False), result
    assert command("config", "unset", "idnex").code == 2


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("base-url", "notaurl", "base-url: must be an address that begins with http:// or https://"),
        ("backend", "other", "backend: must be 'llama-cloud' or 'openhands'"),
    ],
)
def test_an_error_in_a_value_is_put_plainly(command: Commands, name: str, value: str, said: str) -> None:
    assert said in command("config", "set", name, value).err


def test_an_index_that_is_no_folder_is_warned_of_when_it_is_set_and_traced_to_the_file_later(
    command: Commands, config_file: Path
) -> None:
    assert "Warning: there is no folder or file 'nowhere' here" in command("config", "set", "index", "nowhere").err
    result = command("ask", "hello")
    assert result.code == 4
    assert f"there is no folder or file 'nowhere' (index in {config_file})" in result.err


def test_what_is_not_set_is_not_removed(command: Commands, config_file: Path) -> None:
    result = command("config", "unset", "region")
    assert (result.code, result.err) == (0, f"region is not set in {config_file}\n")
    assert not config_file.exists()


def test_every_command_asks_what_the_file_names(command: Commands, config_file: Path, serving: Serving) -> None:
    server = serving()
    assert command("config", "set", "base-url", server.url).code == 0
    assert command("config", "set", "index", "idx-docs").code == 0
    assert command("config", "set", "api-key", "--in-clear", stdin=f"{KEY}\n").code == 0
    asked = command("ask", MARGIN)
    assert f"Chat API at {server.url}" in asked.err
    assert "14.3 %" in asked.out
    again = command("chat", "-c", stdin="And in Q4?\n")
    assert "11.8 %" in again.out
    assert f"chat-sessions chat --session {asked.session_id}\n" in again.err
    assert asked.session_id in command("sessions", "list").out
    doctor = command("doctor")
    assert f"{config_file} sets base-url, index, api-key" in doctor.out
    assert "from the config file" in doctor.out


def test_a_folder_in_the_file_is_asked_on_this_machine_even_with_a_key(
    command: Commands, config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", KEY)
    written(config_file, index=[str(DOCUMENTS)], region="eu")
    asked = command("ask", MARGIN)
    assert "14.3 %" in asked.out
    assert asked.session_id in command("sessions", "list").out
    again = command("chat", "-c", stdin="And in Q4?\n")
    assert "11.8 %" in again.out
    assert f"--session {asked.session_id} --local\n" in again.err


def test_the_path_of_a_folder_is_kept_whole(command: Commands, config_file: Path, tmp_path: Path) -> None:
    (tmp_path / "work" / "papers").mkdir()
    command("config", "set", "index", "papers", "idx-a")
    assert Config.read(config_file).index == (str(tmp_path / "work" / "papers"), "idx-a")


def test_options_win_over_the_environment_and_the_environment_over_the_file(
    command: Commands, config_file: Path, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = serving(), serving(), serving()
    written(config_file, base_url=first.url, api_key=KEY, index="idx-docs")
    assert f"Chat API at {first.url}" in command("ask", MARGIN).err
    monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", second.url)
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", KEY)
    assert f"Chat API at {second.url}" in command("ask", MARGIN).err
    assert f"Chat API at {third.url}" in command("ask", MARGIN, *at(third)).err
    assert "Local server over" in command("ask", MARGIN, "--local", "-i", str(DOCUMENTS)).err


@pytest.mark.parametrize("given", [{"base_url": "http://127.0.0.1:1"}, {"region": "us"}])
def test_the_key_of_the_file_goes_to_no_other_address(config_file: Path, given: dict[str, Any]) -> None:
    written(config_file, region="eu", api_key=KEY)
    assert Where(region="eu").configured().api_key == KEY
    assert Where(base_url=f"{EU}/").configured().api_key == KEY
    where = Where(**given).configured()
    assert (where.api_key, where.base_url, where.region) == (None, given.get("base_url"), given.get("region"))
    with pytest.raises(ConfigurationError, match="no API key"):
        assert where.is_local


def test_an_openhands_server_has_an_address_and_a_key_of_its_own(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "http://127.0.0.1:8000"
    written(config_file, backend="openhands", openhands_base_url=url, openhands_api_key="oh-key", api_key=KEY)
    where = Where().configured()
    assert (where.backend, where.base_url, where.api_key, where.key_name) == (
        "openhands", url, "oh-key", "the config file"
    )  # fmt: skip
    assert where.options_to(url) == " --backend openhands"
    assert Where(base_url="http://127.0.0.1:9").configured().api_key is None
    assert Where(backend="llama-cloud").configured().api_key == KEY
    monkeypatch.setenv("OPENHANDS_BASE_URL", "http://127.0.0.1:9")
    other = Where().configured()
    assert (other.base_url, other.api_key) == ("http://127.0.0.1:9", None)
    monkeypatch.setenv("OPENHANDS_API_KEY", "of-the-environment")
    assert Where(base_url=url).configured().api_key is None


@pytest.mark.parametrize("given", [{"local": True}, {"local": False}, {"region": "eu"}, {"indexes": ("idx-a",)}])
def test_an_option_that_openhands_does_not_have_chooses_the_other_backend(
    config_file: Path, given: dict[str, Any]
) -> None:
    written(config_file, backend="openhands")
    assert Where(**given).configured().backend == "llama-cloud"


@pytest.mark.parametrize(
    ("file", "url", "options"),
    [
        ({}, "https://api.cloud.llamaindex.ai", ""),
        ({}, EU, " --region eu"),
        ({"region": "eu"}, EU, ""),
        ({"region": "eu"}, "https://api.cloud.llamaindex.ai", " --region us"),
        ({}, "http://127.0.0.1:1", " --base-url http://127.0.0.1:1"),
        ({"base_url": "http://127.0.0.1:1/"}, "http://127.0.0.1:1", ""),
        ({"backend": "openhands"}, EU, " --backend llama-cloud --region eu"),
    ],
)
def test_the_command_to_go_on_leads_back_to_the_same_service(
    config_file: Path, file: dict[str, str], url: str, options: str
) -> None:
    written(config_file, **file)
    assert Where(backend="llama-cloud").configured().options_to(url) == options


def test_a_session_has_indexes_of_its_own(config_file: Path) -> None:
    written(config_file, index=["idx-a", str(DOCUMENTS)])
    assert Where(api_key=KEY).configured().indexes == ["idx-a"]
    assert Where(local=True).configured().indexes == [str(DOCUMENTS)]
    assert not Where(api_key=KEY, session_id="ses-a").configured().indexes
    assert not Where(local=True, session_id="ses-a").configured().indexes


def test_every_name_is_on_the_page() -> None:
    page = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
    assert set(SECRETS) < set(NAMES)
    assert [name for name in NAMES if f"| `{name}` |" not in page] == []
