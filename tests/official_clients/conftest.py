"""The server that the official clients meet, and what becomes of a client that cannot be had.

Its tests are skipped, with one line for each client that says why. With
`CHAT_SESSIONS_REQUIRE_OFFICIAL=1` in the environment, as in CI, they fail.
"""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from chat_sessions import LocalServer
from chat_sessions.core.events import Event, TextDelta
from chat_sessions.server import AgentTurn
from chat_sessions.server.agents.local_agent import LocalAgent
from tests.official_clients.clients import OfficialClient, Report, Script, run
from tests.official_clients.environments import Unavailable, environment

_DOCUMENTS = Path(__file__).parents[2] / "examples" / "documents"
_INDEXES = {"idx-report": _DOCUMENTS / "annual-report-2025.pdf", "idx-handbook": _DOCUMENTS / "handbook.md"}
_SCRIPT = Script(
    index_ids=list(_INDEXES),
    question="What was the revenue in the third quarter of 2025?",
    hold="Hold the answer.",
    release="Release it.",
)
# Reached only by a server or a client that keeps events back.
_HELD_AT_MOST = 10


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "official: runs a released client of the service, installed on first use")


class HoldingAgent:
    """The default agent, but for an answer that stops after its first piece until another session asks for the rest."""

    def __init__(self) -> None:
        self._documents = LocalAgent()
        self._released = asyncio.Event()

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        if turn.prompt == _SCRIPT.hold:
            self._released.clear()
            yield TextDelta(content="Held, ")
            async with asyncio.timeout(_HELD_AT_MOST):
                await self._released.wait()
            yield TextDelta(content="then released.")
        elif turn.prompt == _SCRIPT.release:
            self._released.set()
            yield TextDelta(content="Released,\u2028all of it.")
        else:
            async for event in self._documents.run(turn):
                yield event


@functools.cache
def _why_not(package: str, version: str) -> str | None:
    """Why a client cannot be had here, or None. Asked once, since a registry that is not there answers late."""
    try:
        environment(package, version)
    except Unavailable as error:
        return str(error)
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    # Here and not in a fixture: skips from one place and with one reason are one line of pytest's summary.
    assert isinstance(item, pytest.Function)
    client = item.callspec.params["client"]
    assert isinstance(client, OfficialClient)
    reason = _why_not(client.package, client.version)
    if reason is not None:
        if os.environ.get("CHAT_SESSIONS_REQUIRE_OFFICIAL") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def run_once() -> Callable[[OfficialClient], Report]:
    """What a client reports, which is run once, against a server of its own."""

    @functools.cache
    def run_once(client: OfficialClient) -> Report:
        with LocalServer(indexes=_INDEXES, agent=HoldingAgent()) as server:
            return run(client, _SCRIPT, url=server.url, api_key=server.api_key)

    return run_once


@pytest.fixture
def report(client: OfficialClient, run_once: Callable[[OfficialClient], Report]) -> Report:
    """What the client of the test saw; tests name theirs by `of_clients`."""
    return run_once(client)
