from __future__ import annotations

from collections.abc import Iterator

import pytest
import stamina

from chat_sessions import LlamaCloudChat, Timeouts
from tests.faces import AnyChat
from tests.wire_server import WireServer


@pytest.fixture
def wire() -> Iterator[WireServer]:
    with WireServer() as server:
        yield server


@pytest.fixture
def sync_chat(wire: WireServer) -> Iterator[LlamaCloudChat]:
    with LlamaCloudChat(api_key="key-1", base_url=wire.url, timeouts=Timeouts(recovery=20)) as chat:
        yield chat


@pytest.fixture(params=["sync", "async"])
def chat(request: pytest.FixtureRequest, sync_chat: LlamaCloudChat) -> AnyChat:
    return sync_chat if request.param == "sync" else sync_chat.aio


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Retries happen, without the waits between them."""
    with stamina.set_testing(True, attempts=3):
        yield
