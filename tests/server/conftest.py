from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from chat_sessions.server import ServerThread
from tests.server.scripted import ANSWER, LocalApi, PaperIndex, ScriptedAgent


@pytest.fixture
def start() -> Iterator[Callable[..., LocalApi]]:
    """Starts servers; each is closed at the end."""
    with ExitStack() as stack:

        def run(**options: Any) -> LocalApi:
            options.setdefault("indexes", {"idx-docs": PaperIndex()})
            options.setdefault("agent", ScriptedAgent(*ANSWER))
            api = LocalApi(stack.enter_context(ServerThread(**options)))
            stack.callback(api.http.close)
            return api

        yield run


@pytest.fixture
def api(start: Callable[..., LocalApi]) -> LocalApi:
    """A server whose agent gives one short answer."""
    return start()
