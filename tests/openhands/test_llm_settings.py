"""The settings of a model: the page has all that the servers take, and what should reach the model reaches it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from chat_sessions.core.errors import TurnFailed
from tests.faces import do
from tests.openhands.servers.agent_server import AgentServer
from tests.openhands.servers.model_server import TITLE, ModelServer

pytestmark = pytest.mark.openhands

_PAGE = (Path(__file__).parents[2] / "docs/reference/llm.md").read_text("utf-8")
_ROW = re.compile(r"^\| `(\w+)` \| `(.+?)` \| .+ \| (.*?) ?\|$", re.MULTILINE)
ROWS: Mapping[str, Any] = {name: json.loads(example) for name, example, _ in _ROW.findall(_PAGE)}
REACHES = {name for name, _, at_the_model in _ROW.findall(_PAGE) if at_the_model}
OLD = pytest.mark.parametrize("version", ["1.18.1"])


def test_the_page_has_every_setting_that_a_server_takes(server: AgentServer) -> None:
    schemas = httpx.get(f"{server.url}/openapi.json", timeout=60).json()["components"]["schemas"]
    known = set(schemas["LLM-Input"]["properties"])
    if server.is_new:
        _, _, besides = _PAGE.partition("\n1.58.2 also has ")
        more, _, fewer = besides.partition("no longer has")
        new, gone = (set(re.findall(r"`(\w+)`", part)) for part in (more, fewer))
        assert known == (set(ROWS) - {"custom_llm_provider"} | new) - gone
    else:
        assert known == set(ROWS) - {"custom_llm_provider"}


async def test_a_setting_that_no_server_knows_is_ignored(server: AgentServer, model: ModelServer, face: str) -> None:
    seen = await _in_a_turn(server, model, face, {**server.llm, "tempratur": 0.5})
    assert "tempratur" not in seen


@OLD
async def test_the_server_takes_every_setting_at_once(chat: Any, server: AgentServer, model: ModelServer) -> None:
    session = chat.session()
    await do(session.ask("TEXT please"))
    # A tokenizer would be loaded from a hub, and a model that reasons takes no temperature.
    every = {name: example for name, example in ROWS.items() if name != "custom_tokenizer"}
    own = {"model": "openai/other", "base_url": server.model_url, "num_retries": 0}
    model.requests.clear()
    title = await do(session.generate_title(80, {**every, **own}))
    assert (title.title, title.origin) == (TITLE, "generated")
    assert model.requests[-1]["temperature"] == 0.2


def the_model(model: ModelServer) -> dict[str, Any]:
    """The newest request, with its headers and its address."""
    return {**model.requests[-1], **model.headers[-1], "": model.paths[-1]}


# What is given, and what of it the model's endpoint is to see; None for what it is not to see.
CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"model": "openai/other"}, {"model": "other", "": "/v1/chat/completions"}),
    ({"api_key": "sk-other"}, {"authorization": "Bearer sk-other"}),
    ({"model": "azure/named", "api_version": "2024-06-01"}, {"api-key": "sk-none", "model": "named"}),
    ({"temperature": 0.25}, {"temperature": 0.25}),
    ({"top_p": 0.5}, {"top_p": 0.5}),
    ({"top_k": 7}, {"top_k": 7}),
    ({"seed": 7}, {"seed": 7}),
    ({"max_output_tokens": 99}, {"max_completion_tokens": 99}),
    ({"stream": True}, {"stream": None}),
    ({"extra_headers": {"X-Team": "docs"}}, {"x-team": "docs"}),
    ({"litellm_extra_body": {"metadata": {"purpose": "title"}}}, {"metadata": {"purpose": "title"}}),
    ({"model": "openai/o3-mini", "reasoning_effort": "low"}, {"reasoning_effort": "low"}),
    (
        {
            "model": "openrouter/some/model",
            "openrouter_site_url": "https://docs.example",
            "openrouter_app_name": "Docs",
        },
        {"http-referer": "https://docs.example", "x-title": "Docs"},
    ),
]


@OLD
@pytest.mark.parametrize(("given", "shown"), CASES, ids=lambda value: ",".join(value))
async def test_a_setting_reaches_the_model(
    chat: Any, server: AgentServer, model: ModelServer, given: dict[str, Any], shown: dict[str, Any]
) -> None:
    session = chat.session()
    await do(session.ask("TEXT please"))
    title = await do(session.generate_title(80, {**server.llm, **given}))
    assert (title.title, title.origin) == (TITLE, "generated")
    seen = the_model(model)
    assert {name: seen.get(name) for name in shown} == shown
    if "api_version" in given:
        assert seen[""].endswith(f"/deployments/named/chat/completions?api-version={given['api_version']}")


_CLAUDE = "anthropic/claude-3-7-sonnet-20250219"


@OLD
@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"model": _CLAUDE, "extended_thinking_budget": 2000}, '"thinking": {"type": "enabled"'),
        ({"model": _CLAUDE, "caching_prompt": True}, '"cache_control": {"type": "ephemeral"}'),
    ],
    ids=["extended_thinking_budget", "caching_prompt"],
)
async def test_a_setting_of_another_api_reaches_the_model(
    chat: Any, server: AgentServer, model: ModelServer, given: dict[str, Any], shown: str
) -> None:
    # The scripted model does not speak that API, and the title is then made of the first message.
    session = chat.session()
    await do(session.ask("TEXT please"))
    await do(session.generate_title(80, {**server.llm, **given}))
    assert shown in json.dumps(model.requests[-1])


# What is given to the agent's own model, and what its endpoint is to see of it in a turn.
TURNS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {
            "model": "openai/gpt-5",
            "reasoning_effort": "low",
            "reasoning_summary": "detailed",
            "enable_encrypted_reasoning": True,
            "prompt_cache_retention": "24h",
        },
        {
            "": "/v1/responses",
            "reasoning": {"effort": "low", "summary": "detailed"},
            "include": ["reasoning.encrypted_content"],
            "prompt_cache_retention": "24h",
        },
    ),
    ({"model": "openai/gpt-5", "enable_encrypted_reasoning": False}, {"include": None}),
    ({"native_tool_calling": False}, {"tools": None, "stop": ["</function"]}),
    ({"native_tool_calling": False, "disable_stop_word": True}, {"tools": None, "stop": None}),
    # Without its own limit the server asks Ollama for one, and refuses a model with less than 16,384 tokens.
    (
        {"model": "ollama_chat/llama", "max_input_tokens": 64_000, "ollama_base_url": "http://127.0.0.1:1"},
        {"": "/api/chat", "model": "llama"},
    ),
]


@pytest.mark.parametrize(("given", "shown"), TURNS, ids=lambda value: ",".join(value))
async def test_a_setting_of_the_agents_model_reaches_it_in_a_turn(
    server: AgentServer, model: ModelServer, face: str, given: dict[str, Any], shown: dict[str, Any]
) -> None:
    place = server.model_url.removesuffix("/v1") if "ollama_base_url" in given else server.model_url
    seen = await _in_a_turn(server, model, face, {**server.llm, "base_url": place, **given})
    assert {name: seen.get(name) for name in shown} == shown


async def _in_a_turn(server: AgentServer, model: ModelServer, face: str, llm: dict[str, Any]) -> dict[str, Any]:
    """What the model's endpoint is asked in a turn, which fails where the scripted model does not speak the API."""
    model.requests.clear()
    with server.client(llm=llm) as made:
        chat: Any = made if face == "sync" else made.aio
        with suppress(TurnFailed):
            await do(chat.session().ask("TEXT please"))
        await do(chat.close())
    return the_model(model)


# 1.18.1 is installed without boto3, which Bedrock takes.
@pytest.mark.parametrize("version", ["1.58.2"])
async def test_the_settings_of_bedrock_reach_its_endpoint(server: AgentServer, model: ModelServer, face: str) -> None:
    bedrock = {
        "model": "bedrock/anthropic.claude-3-5-sonnet-20240620-v1:0",
        "aws_region_name": "eu-west-3",
        "aws_bedrock_runtime_endpoint": server.model_url.removesuffix("/v1"),
        "num_retries": 0,
    }
    keys = {"aws_access_key_id": "AKIAOWN", "aws_secret_access_key": "secret", "aws_session_token": "token"}
    seen = await _in_a_turn(server, model, face, {**bedrock, **keys})
    assert seen[""].startswith("/model/anthropic.claude-3-5-sonnet")
    assert re.match(r"AWS4-HMAC-SHA256 Credential=AKIAOWN/\d+/eu-west-3/bedrock/", seen["authorization"])
    assert seen["x-amz-security-token"] == "token"
    (server.home / ".aws").mkdir(exist_ok=True)
    (server.home / ".aws/credentials").write_text(
        "[docs]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = secret\n", "utf-8"
    )
    seen = await _in_a_turn(server, model, face, {**bedrock, "aws_profile_name": "docs"})
    assert "Credential=AKIAPROFILE/" in seen["authorization"]


def test_every_setting_that_the_page_says_to_reach_the_model_has_a_case() -> None:
    tried = {name for given, _ in [*CASES, *TURNS] for name in given} - {"max_input_tokens", "ollama_base_url"}
    tried |= {"extended_thinking_budget", "caching_prompt"}
    tried |= {f"aws_{name}" for name in ("access_key_id", "secret_access_key", "session_token", "region_name")}
    tried |= {"aws_profile_name", "aws_bedrock_runtime_endpoint"}
    # The model is where it says in all of them.
    assert tried | {"base_url"} == REACHES
