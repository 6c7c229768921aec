"""The model as LangChain's other parts use it."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessageChunk
from langchain_core.rate_limiters import BaseRateLimiter

from chat_sessions import LlamaCloudChat
from chat_sessions.core.events import Stop, TextDelta
from chat_sessions.core.models import Usage
from chat_sessions.langchain import SessionChatModel
from tests.langchain.runs.test_runs import ASYNC_PATHS, SYNC_PATHS
from tests.langchain.stage import Stage


@pytest.mark.checklist(50)
async def test_a_cache_never_answers_a_turn(stage: Stage) -> None:
    set_llm_cache(InMemoryCache())
    try:
        model = stage.model()
        model.invoke("q")
        model.invoke("q")
        await model.ainvoke("q")
    finally:
        set_llm_cache(None)
    assert stage.actor.prompts == ["q", "q", "q"]
    with pytest.raises(ValueError, match="cannot be cached"):
        stage.model(cache=True)
    assert stage.model(cache=None).cache is False


@pytest.mark.checklist(51)
async def test_the_usage_handler_counts_each_turn_once(stage: Stage) -> None:
    model = stage.model()
    for path in SYNC_PATHS.values():
        handler = UsageMetadataCallbackHandler()
        path(model, {"callbacks": [handler]})
        assert handler.usage_metadata["llama-cloud-chat"]["total_tokens"] == 14
    for path in ASYNC_PATHS.values():
        handler = UsageMetadataCallbackHandler()
        await path(model, {"callbacks": [handler]})
        assert handler.usage_metadata["llama-cloud-chat"]["total_tokens"] == 14


@pytest.mark.checklist(51)
def test_without_counts_there_is_no_usage(stage: Stage) -> None:
    stage.play(TextDelta(content="a"), Stop(usage=Usage(), is_error=False))
    handler = UsageMetadataCallbackHandler()
    model = stage.model()
    assert model.invoke("q", {"callbacks": [handler]}).usage_metadata is None
    assert list(model.stream("q", {"callbacks": [handler]}))[-1].usage_metadata is None
    assert model.stream_events("q", {"callbacks": [handler]}, version="v3").output.usage_metadata is None
    assert handler.usage_metadata == {}


@pytest.mark.checklist(52)
def test_a_dumped_model_has_no_key_and_loads_with_the_environments(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = stage.model(session_id=stage.client.create(index_ids=["idx-docs"]).session_id, system="prepend")
    dumped = dumps(model)
    assert stage.server.api_key not in dumped + repr(model) + str(model) + str(model.model_dump())
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", stage.server.api_key)
    monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", stage.server.url)
    loaded = loads(dumped, valid_namespaces=["chat_sessions"], allowed_objects=[SessionChatModel])
    assert isinstance(loaded, SessionChatModel)
    assert (loaded.session_id, loaded.system, loaded.client) == (model.session_id, "prepend", None)
    assert loaded.invoke("q").text == "Hello world"


@pytest.mark.checklist(52)
def test_a_dumped_model_of_a_session_held_has_its_id(stage: Stage) -> None:
    session = stage.client.session(index_ids=["idx-docs"])
    model = SessionChatModel.from_session(session)
    model.invoke("q")
    loaded = loads(dumps(model), valid_namespaces=["chat_sessions"], allowed_objects=[SessionChatModel])
    assert loaded.session_id == session.id
    assert pickle.loads(pickle.dumps(model)).session.id == session.id
    assert dumps(model.bind(session_id="ses-2").bound).count("ses-2") == 1


@pytest.mark.checklist(53)
def test_a_model_can_be_pickled_and_copied(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    model = stage.model(trace_tools=False)
    model.invoke("q")
    pickled = pickle.dumps(model)
    assert stage.server.api_key.encode() not in pickled
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", stage.server.api_key)
    for twin in (pickle.loads(pickled), copy.copy(model), copy.deepcopy(model), model.model_copy()):
        assert twin.trace_tools is False
        assert twin.invoke("q").text == "Hello world"
    assert copy.deepcopy(model).client is model.client
    session_id = stage.actor.sessions[0]
    assert model._sessions.get(session_id, stage.client) is not None
    assert pickle.loads(pickled)._sessions.get(session_id, stage.client) is None


class _Counter(BaseRateLimiter):
    count = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        self.count += 1
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        self.count += 1
        return True


@pytest.mark.checklist(54)
async def test_a_rate_limiter_is_asked_once_for_each_turn(stage: Stage) -> None:
    for path in SYNC_PATHS.values():
        limiter = _Counter()
        path(stage.model(rate_limiter=limiter), {"callbacks": []})
        assert limiter.count == 1
    for apath in ASYNC_PATHS.values():
        limiter = _Counter()
        await apath(stage.model(rate_limiter=limiter), {"callbacks": []})
        assert limiter.count == 1


@pytest.mark.checklist(56)
@pytest.mark.parametrize(
    ("imported", "absent"),
    [
        ("chat_sessions", ("langchain_core", "llama_index", "langgraph")),
        ("chat_sessions.langchain", ("langgraph", "llama_index", "chat_sessions.llama_index", "chat_sessions.server")),
    ],
)
def test_an_import_loads_no_framework_that_was_not_asked_for(imported: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {imported}; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.checklist(57)
def test_nothing_here_warns_of_deprecation() -> None:
    """Every other test runs with warnings as errors; this one imports each module anew."""
    code = (
        "import chat_sessions.langchain as package, pkgutil, importlib\n"
        "for module in pkgutil.iter_modules(package.__path__, package.__name__ + '.'):\n"
        "    importlib.import_module(module.name)\n"
        "package.SessionChatMessageHistory\n"
        "package.SessionChatModel(session_id='ses-1')\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_model_without_a_client_makes_one_from_the_environment_at_its_first_call(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chat_sessions import ConfigurationError

    model = SessionChatModel(index_ids=["idx-docs"])
    with pytest.raises(ConfigurationError, match="LLAMA_CLOUD_API_KEY"):
        model.invoke("q")
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", stage.server.api_key)
    monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", stage.server.url)
    assert model.invoke("q").text == "Hello world"
    assert isinstance(model._sessions.client(), LlamaCloudChat)


def test_a_long_answer_is_not_kept_in_pieces(stage: Stage) -> None:
    """LangChain's own driver keeps every chunk: some 90 MB for fifty thousand. What stays here is the text."""
    pieces = 500
    stage.play(*(TextDelta(content="word ") for _ in range(pieces)), Stop(usage=Usage(), is_error=False))
    chunks = stage.model().stream("q")
    for _ in range(pieces - 5):
        next(chunks)
    gc.collect()
    alive = sum(type(found) is AIMessageChunk for found in gc.get_objects())
    chunks.close()  # type: ignore[attr-defined]
    assert alive < 10


def test_the_exported_names_are_all_there() -> None:
    import chat_sessions.langchain as package

    assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError, match="Nothing"):
        _ = package.Nothing
