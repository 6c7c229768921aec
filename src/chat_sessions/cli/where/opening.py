"""Open the service that the options mean."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, cast

import httpx
from pydantic import BaseModel, ValidationError

from chat_sessions.cli.show.logged import logged
from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.cli.where.choice import Where
from chat_sessions.cli.where.local import open_local
from chat_sessions.cli.where.openhands import open_openhands
from chat_sessions.cli.where.service import Service
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.llama_cloud import LlamaCloudChat
from chat_sessions.llama_cloud.settings import REGIONS, Region

if TYPE_CHECKING:
    from chat_sessions.openhands import OnConfirmation

__all__ = ["open_service"]


@contextmanager
def open_service(
    where: Where, terminal: Terminal, *, documents: bool = True, on_confirmation: OnConfirmation | None = None
) -> Generator[Service]:
    """Open the service, and name it on stderr.

    Set `documents` if questions will be asked: a local server then reads its documents, and a new session needs an
    agent. An OpenHands agent asks `on_confirmation` for permission; default the terminal. Raises
    `ConfigurationError`, `UnknownName`, and what the documents raise.
    """
    where.check(asks=documents)
    if where.is_openhands:
        if documents and where.session_id is None and not where.agent.has_agent:
            raise ConfigurationError(
                "no agent for a new session: name its model with --llm or LLM_MODEL, or a profile of the server with "
                "--agent"
            )
        opened = open_openhands(where, terminal, on_confirmation)
    elif where.is_local:
        opened = open_local(where, terminal, documents=documents)
    else:
        opened = _open_cloud(where)
    with logged("chat_sessions.session", terminal, logging.INFO), opened as service:
        if not service.is_local:
            terminal.note(service.name)
        yield service


@contextmanager
def _open_cloud(where: Where) -> Generator[Service]:
    """Open a client of LlamaCloud, or of the Chat API at another address. Raises `ConfigurationError`."""
    with LlamaCloudChat(
        api_key=where.api_key,
        base_url=where.base_url,
        region=cast("Region | None", where.region),
        index_ids=list(where.indexes) or None,
        timeouts=where.timeouts,
    ) as client:
        url = client.base_url
        region = next((region for region, known in REGIONS.items() if known == url), None)
        name = f"LlamaCloud ({region}), {url}" if region else f"Chat API at {url}"
        key = where.api_key or os.environ.get(where.key_name or "", "")
        yield Service(
            client,
            name,
            where.options_to(url),
            index_ids=client.index_ids,
            offered=list if region else partial(_indexes_at, url, key),
        )


def _indexes_at(url: str, key: str) -> list[str]:
    """List the index ids of a server such as `chat-sessions serve`; empty if it has no such list."""
    try:
        answer = httpx.get(f"{url}/api/v1/indexes", headers={"Authorization": f"Bearer {key.strip()}"}, timeout=5)
        return [item.index_id for item in _IndexList.model_validate_json(answer.content).items]
    except (httpx.HTTPError, ValidationError):
        return []


class _Listed(BaseModel):
    index_id: str


class _IndexList(BaseModel):
    items: list[_Listed]
