"""The settings of a model: the page has all that the servers take, and what should reach the model reaches it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

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
        _, _, besides = _PAGE.partition("\n1.58.2 has besides ")
        more, _, fewer = besides.partition("no longer has")
        new, gone = (set(re.findall(r"`(\w+)`", part)) for part in (more, fewer))
        assert known == (set(ROWS) - {"custom_llm_provider"} | new) - gone
    else:
        assert known == set(ROWS) - {"custom_llm_provider"}


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


def test_every_setting_that_the_page_says_to_reach_the_model_has_a_case() -> None:
    tried = {name for given, _ in CASES for name in given}
    tried |= {"extended_thinking_budget", "caching_prompt"}
    # The model is where it says in all of them.
    assert tried | {"base_url"} == REACHES
