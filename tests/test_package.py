"""What is public, what an import costs, and that the sync and the async side stay twins."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest

import chat_sessions
from chat_sessions import (
    AsyncChatSession,
    AsyncLlamaCloudChat,
    AsyncTurnStream,
    ChatSession,
    LlamaCloudChat,
    TurnStream,
)
from chat_sessions.openhands import AsyncOpenHandsChat, AsyncOpenHandsSession, OpenHandsChat, OpenHandsSession
from chat_sessions.openhands.conversation.async_workspace import AsyncWorkspace
from chat_sessions.openhands.conversation.workspace import Workspace

TWINS = [
    (LlamaCloudChat, AsyncLlamaCloudChat),
    (OpenHandsChat, AsyncOpenHandsChat),
    (ChatSession, AsyncChatSession),
    (OpenHandsSession, AsyncOpenHandsSession),
    (Workspace, AsyncWorkspace),
    (TurnStream, AsyncTurnStream),
]
# What only one side has, and why.
ALONE = {
    "aio": "the way from the sync client to its twin",
    "__enter__": "the twin has __aenter__",
    "__exit__": "the twin has __aexit__",
    "__aenter__": "the twin has __enter__",
    "__aexit__": "the twin has __exit__",
    "__iter__": "the twin has __aiter__",
    "__next__": "the twin has __anext__",
    "__aiter__": "the twin has __iter__",
    "__anext__": "the twin has __next__",
}


def public(cls: type[Any]) -> dict[str, Any]:
    return {
        name: member
        for name, member in inspect.getmembers(cls)
        if not name.startswith("_") or name in ("__enter__", "__aenter__", "__iter__", "__aiter__")
    }


@pytest.mark.parametrize(("sync", "twin"), TWINS)
def test_sync_and_async_have_the_same_methods_with_the_same_arguments(sync: type[Any], twin: type[Any]) -> None:
    ours, theirs = public(sync), public(twin)
    assert {name for name in ours.keys() ^ theirs.keys() if name not in ALONE} == set()
    for name in ours.keys() & theirs.keys():
        if inspect.isfunction(ours[name]):
            mine, other = (inspect.signature(side[name]).parameters.values() for side in (ours, theirs))
            assert [(p.name, p.kind, p.default) for p in mine] == [(p.name, p.kind, p.default) for p in other], name


def test_the_sync_and_the_async_client_are_made_with_the_same_arguments() -> None:
    mine, other = (set(inspect.signature(cls).parameters) for cls in TWINS[0])
    assert mine - other == {"async_http_client"}
    assert other - mine == set()


def test_every_public_name_is_there_and_they_are_in_order() -> None:
    assert chat_sessions.__all__ == sorted(chat_sessions.__all__)
    for name in chat_sessions.__all__:
        assert getattr(chat_sessions, name) is not None
        assert name in dir(chat_sessions)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = chat_sessions.nothing


@pytest.mark.parametrize("name", chat_sessions.__all__)
def test_every_public_name_says_what_it_is(name: str) -> None:
    value = getattr(chat_sessions, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {line.partition(".")[0] for line in run.stdout.splitlines()} | set(run.stdout.split())


def test_importing_the_package_loads_no_framework_and_no_server() -> None:
    loaded = modules_after("import chat_sessions")
    assert loaded & {"llama_index", "langchain_core", "starlette", "uvicorn", "sqlalchemy", "typer", "bm25s"} == set()
    assert "chat_sessions.server" not in loaded


def test_each_adapter_loads_its_own_framework_only() -> None:
    assert "langchain_core" not in modules_after("import chat_sessions.llama_index")
    assert {"llama_index", "langgraph"} & modules_after("import chat_sessions.langchain") == set()
