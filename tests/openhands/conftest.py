"""Two real agent servers, an old and a new one, with a scripted model; started once for all tests.

Their tests are skipped, with one line for each server that says why, where it cannot be had. With
`CHAT_SESSIONS_REQUIRE_OPENHANDS=1` in the environment, as in CI, they fail.
"""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator, Generator
from contextlib import ExitStack

import pytest

from chat_sessions.openhands import AsyncOpenHandsChat, OpenHandsChat
from tests.openhands.servers.agent_server import AgentServer
from tests.openhands.servers.environments import Unavailable, interpreter_of
from tests.openhands.servers.model_server import ModelServer

VERSIONS = ("1.18.1", "1.58.2")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "openhands: runs a released OpenHands Agent Server, installed on first use")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marked = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "version" in metafunc.fixturenames and not any("version" in names for names in marked):
        metafunc.parametrize("version", VERSIONS, scope="session")
    if "face" in metafunc.fixturenames:
        metafunc.parametrize("face", ("sync", "async"))


@functools.cache
def _why_not(version: str) -> str | None:
    """Why a server cannot be had here, or None. Asked once, since a registry that is not there answers late."""
    try:
        interpreter_of(version)
    except Unavailable as error:
        return str(error)
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    # Here and not in a fixture: skips from one place and with one reason are one line of pytest's summary.
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return
    version = item.callspec.params.get("version")
    reason = _why_not(str(version)) if version in VERSIONS else None
    if reason is not None:
        if os.environ.get("CHAT_SESSIONS_REQUIRE_OPENHANDS") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def no_openhands_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may see a real key or model."""
    for name in ("OPENHANDS_BASE_URL", "OPENHANDS_API_KEY", "LLM_MODEL", "LLM_API_KEY", "LLM_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def model() -> Generator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture(scope="session")
def servers(
    model: ModelServer, tmp_path_factory: pytest.TempPathFactory
) -> Generator[functools._lru_cache_wrapper[AgentServer]]:
    """The server of a version, started when it is first asked for."""
    with ExitStack() as stack:

        @functools.cache
        def server_of(version: str) -> AgentServer:
            folder = tmp_path_factory.mktemp(f"openhands-{version}")
            return stack.enter_context(AgentServer(version, interpreter_of(version), folder, model.url))

        yield server_of


@pytest.fixture
def server(version: str, servers: functools._lru_cache_wrapper[AgentServer]) -> AgentServer:
    return servers(version)


@pytest.fixture
async def chat(server: AgentServer, face: str) -> AsyncIterator[OpenHandsChat | AsyncOpenHandsChat]:
    """A client of the server: the sync one, or its async twin."""
    with server.client() as client:
        if face == "sync":
            yield client
        else:
            async with client.aio as twin:
                yield twin
