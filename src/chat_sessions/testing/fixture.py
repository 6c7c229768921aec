"""A pytest fixture for the tests of applications: the Chat API on this machine, and what can go wrong with it.

pytest loads this module wherever the package is installed. The server is imported only when a test asks for it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from chat_sessions.local import LocalServer
    from chat_sessions.server import Agent, Behaviour
    from chat_sessions.server.documents.library import IndexSource
    from chat_sessions.testing.faults import Fault

__all__ = ["MakeServer", "chat_sessions_server"]


class MakeServer(Protocol):
    """Starts local servers that end with the test."""

    def __call__(
        self,
        *,
        indexes: Mapping[str, IndexSource] | None = None,
        agent: Agent | None = None,
        behaviour: Behaviour | None = None,
        faults: Sequence[Fault | Sequence[Fault]] = (),
    ) -> LocalServer:
        """Start a server. Without `indexes` it has one, "idx-docs", with a single small document."""
        ...


@pytest.fixture
def chat_sessions_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[MakeServer]:
    """Make local servers: `server = chat_sessions_server(faults=[Cut(at_byte=400)])`, then `server.client()`.

    `server.faults` exists even without faults: script some later, or read its `prompts`. All servers are closed when
    the test ends.
    """
    with ExitStack() as servers:

        def make(
            *,
            indexes: Mapping[str, IndexSource] | None = None,
            agent: Agent | None = None,
            behaviour: Behaviour | None = None,
            faults: Sequence[Fault | Sequence[Fault]] = (),
        ) -> LocalServer:
            from chat_sessions.local import LocalServer

            if indexes is None:
                folder = tmp_path_factory.mktemp("documents")
                (folder / "note.md").write_text("# Note\n\nRevenue was 84.2 million in 2025.\n", encoding="utf-8")
                indexes = {"idx-docs": folder}
            return servers.enter_context(
                LocalServer(indexes=indexes, agent=agent, behaviour=behaviour, faults=list(faults))
            )

        yield make
