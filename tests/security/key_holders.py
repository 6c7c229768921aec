"""Clients that hold every kind of secret, and what must not be seen of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chat_sessions import (
    LlamaCloudChat,
    OpenHandsChat,
    Timeouts,
)
from tests.security.hunt import shown

KEY = "llx-THE-KEY-0123456789"
MODEL_KEY = "sk-MODEL-KEY-0123456789"
TOKEN = "tunnel-TOKEN-0123456789"
SECRETS = (KEY, MODEL_KEY, TOKEN)
SESSION = "0b9a2d63-54d7-4c2b-9d36-6f3f4f0c8f11"


def llama_cloud(url: str, **options: Any) -> LlamaCloudChat:
    settings: dict[str, Any] = {"headers": {"X-Tunnel": f"Basic {TOKEN}"}, "max_retries": 0, "index_ids": ["i"]}
    return LlamaCloudChat(api_key=KEY, base_url=url, **(settings | {"timeouts": Timeouts(recovery=0)} | options))


def openhands(url: str, **options: Any) -> OpenHandsChat:
    settings: dict[str, Any] = {
        "llm": {"model": "m", "api_key": MODEL_KEY},
        "conversation": {"secrets": {"DEPLOY": TOKEN}},
        "max_retries": 0,
        "timeouts": Timeouts(recovery=0),
    }
    return OpenHandsChat(api_key=KEY, base_url=url, **(settings | options))


MAKERS: dict[str, Callable[..., Any]] = {"llama_cloud": llama_cloud, "openhands": openhands}
Maker = Callable[..., Any]
Call = Callable[[], object]


def assert_hidden(error: BaseException, *, locals_too: bool = True) -> None:
    """No secret is in the error, nor in what a traceback with local variables shows of it."""
    seen = shown(error, locals_too=locals_too)
    assert not [secret for secret in SECRETS if secret in seen]
