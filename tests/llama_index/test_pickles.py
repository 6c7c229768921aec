"""What a pickle of an engine, a memory or a block keeps: where it belongs, and no key."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler

from chat_sessions import ConfigurationError, LlamaCloudChat, OpenHandsChat, Timeouts
from chat_sessions.llama_index import SessionChatEngine, SessionMemory, SessionSummaryBlock
from chat_sessions.session import Backend
from tests.llama_index.checklist import proves
from tests.llama_index.conftest import KEY, Serve

SESSION_ID = "1b2c3d4e-0000-4000-8000-000000000001"
Make = Callable[[Backend], Any]
MAKES = pytest.mark.parametrize(
    "make",
    [
        lambda client: SessionChatEngine(client=client, session_id=SESSION_ID, on_chat_history="warn"),
        lambda client: SessionMemory(client=client, session_id=SESSION_ID),
        lambda client: SessionSummaryBlock(client=client),
    ],
    ids=["engine", "memory", "block"],
)


def client_in(thing: Any) -> Any:
    return thing._client if isinstance(thing, SessionSummaryBlock) else thing.client


@proves(41)
@MAKES
def test_a_pickle_keeps_service_region_project_and_settings_and_no_key(make: Make) -> None:
    clients = (
        LlamaCloudChat(
            api_key=KEY, region="eu", project_id="prj-1", index_ids=["idx"], timeouts=Timeouts(idle=7), max_retries=5
        ),
        OpenHandsChat(api_key=KEY, base_url="http://127.0.0.1:9", timeouts=Timeouts(idle=7)),
    )
    for client in clients:
        pickled = pickle.dumps(make(client))
        assert KEY.encode() not in pickled
        again = client_in(pickle.loads(pickled))
        assert type(again) is type(client)
        assert (again.service, again.base_url, again.timeouts) == (client.service, client.base_url, client.timeouts)
        assert again.index_ids == client.index_ids
        assert repr(again) == repr(client)


@MAKES
def test_what_has_a_client_with_a_connection_of_yours_is_refused(make: Make) -> None:
    with httpx.Client() as mine:
        for client in (
            LlamaCloudChat(api_key=KEY, http_client=mine),
            OpenHandsChat(api_key=KEY, base_url="http://127.0.0.1:9", http_client=mine),
        ):
            with pytest.raises(ConfigurationError, match="with an http_client cannot be pickled"):
                pickle.dumps(make(client))


def test_an_engine_goes_on_in_its_session_after_a_pickle(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SessionChatEngine(client=serve(), on_chat_history="warn")
    engine.chat("One?")
    pickled = pickle.dumps(engine)
    with pytest.raises(ConfigurationError, match="no API key"):
        pickle.loads(pickled).chat("Two?")
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", KEY)
    again = pickle.loads(pickled)
    again.chat("Two?")
    assert again.session_id == engine.session_id
    assert [turn.prompt for turn in engine.session.turns()] == ["One?", "Two?"]
    again.client.close()


def test_an_engine_whose_handler_cannot_be_pickled_is_refused(serve: Serve) -> None:
    handler = LlamaDebugHandler(print_trace_on_end=False)
    handler.lock = threading.Lock()  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(SessionChatEngine(client=serve(), callback_manager=CallbackManager([handler])))
