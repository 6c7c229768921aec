"""What users would pick instead, over the same words: their own clients, as their documentation has them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from benchmarks.llama_index import listening
from benchmarks.subject import Bench, Subject

__all__ = ["CHAT_OPENAI", "REMOTE_GRAPH", "SDK", "SIMPLE_ENGINE", "SIMPLE_ENGINE_HANDLER", "missing"]

_NEEDED = {
    "ChatOpenAI": "langchain_openai",
    "SimpleChatEngine": "llama_index.llms.openai",
    "SimpleChatEngine + handler": "llama_index.llms.openai",
    "RemoteGraph": "langgraph_sdk",
    "SDK": "llama_cloud",
}


def missing(subject: Subject) -> str | None:
    """The module that this peer needs and that is not installed."""
    name = _NEEDED.get(subject.name)
    try:
        return name if name is not None and find_spec(name) is None else None
    except ModuleNotFoundError:
        return name


# Any: none of these is installed where the types are checked.


def _chat_openai(bench: Bench, plan: str) -> Any:
    made = import_module("langchain_openai").ChatOpenAI
    return bench.once(
        ("ChatOpenAI", plan),
        lambda: made(model="gpt-4o-mini", api_key="k", base_url=f"{bench.url}/{plan}/v1", stream_usage=True),
    )


def _stream_chat_openai(bench: Bench, plan: str) -> Iterator[str]:
    for chunk in _chat_openai(bench, plan).stream("q"):
        if chunk.content:
            yield chunk.content


async def _astream_chat_openai(bench: Bench, plan: str) -> AsyncIterator[str]:
    async for chunk in _chat_openai(bench, plan).astream("q"):
        if chunk.content:
            yield chunk.content


def _simple_engine(bench: Bench, plan: str) -> Any:
    from llama_index.core.chat_engine import SimpleChatEngine

    def make() -> Any:
        llm = import_module("llama_index.llms.openai").OpenAI(
            model="gpt-4o-mini", api_key="k", api_base=f"{bench.url}/{plan}/v1"
        )
        return SimpleChatEngine.from_defaults(llm=llm)

    return bench.once(("SimpleChatEngine", plan), make)


def _stream_simple_engine(bench: Bench, plan: str) -> Iterator[str]:
    engine = _simple_engine(bench, plan)
    engine.reset()
    yield from engine.stream_chat("q").response_gen


async def _astream_simple_engine(bench: Bench, plan: str) -> AsyncIterator[str]:
    engine = _simple_engine(bench, plan)
    # Its reset() needs a loop of its own.
    await engine._memory.areset()
    response = await engine.astream_chat("q")
    async for piece in response.async_response_gen():
        yield piece


def _stream_simple_engine_heard(bench: Bench, plan: str) -> Iterator[str]:
    with listening():
        yield from _stream_simple_engine(bench, plan)


async def _astream_simple_engine_heard(bench: Bench, plan: str) -> AsyncIterator[str]:
    with listening():
        async for piece in _astream_simple_engine(bench, plan):
            yield piece


def _remote_graph(bench: Bench, plan: str) -> Any:
    from langgraph.pregel.remote import RemoteGraph

    return bench.once(("RemoteGraph", plan), lambda: RemoteGraph("agent", url=f"{bench.url}/{plan}"))


_GRAPH_INPUT = {"messages": [{"role": "user", "content": "q"}]}


def _stream_remote_graph(bench: Bench, plan: str) -> Iterator[str]:
    for message, _ in _remote_graph(bench, plan).stream(_GRAPH_INPUT, stream_mode="messages"):
        yield message["content"]


async def _astream_remote_graph(bench: Bench, plan: str) -> AsyncIterator[str]:
    async for message, _ in _remote_graph(bench, plan).astream(_GRAPH_INPUT, stream_mode="messages"):
        yield message["content"]


def _text(line: str) -> str | None:
    if not line.startswith("data: "):
        return None
    event = json.loads(line[6:])
    return event["content"] if event["type"] == "text_delta" else None


def _stream_sdk(bench: Bench, plan: str) -> Iterator[str]:
    client: Any = bench.once("SDK", lambda: import_module("llama_cloud").LlamaCloud(api_key="k", base_url=bench.url))
    with client.chat.with_streaming_response.stream(plan, prompt="q", index_ids=["idx"]) as response:
        for line in response.iter_lines():
            if (text := _text(line)) is not None:
                yield text


async def _astream_sdk(bench: Bench, plan: str) -> AsyncIterator[str]:
    client: Any = bench.once(
        "async SDK", lambda: import_module("llama_cloud").AsyncLlamaCloud(api_key="k", base_url=bench.url)
    )
    async with client.chat.with_streaming_response.stream(plan, prompt="q", index_ids=["idx"]) as response:
        async for line in response.iter_lines():
            if (text := _text(line)) is not None:
                yield text


CHAT_OPENAI = Subject(
    "ChatOpenAI", __name__, _stream_chat_openai, _astream_chat_openai, "ChatOpenAI.stream (langchain-openai)"
)
SIMPLE_ENGINE = Subject(
    "SimpleChatEngine",
    __name__,
    _stream_simple_engine,
    _astream_simple_engine,
    "SimpleChatEngine.stream_chat with OpenAI",
)
REMOTE_GRAPH = Subject(
    "RemoteGraph", __name__, _stream_remote_graph, _astream_remote_graph, "RemoteGraph.stream (langgraph)"
)
SDK = Subject("SDK", __name__, _stream_sdk, _astream_sdk, "official SDK, its streaming response line by line")
SIMPLE_ENGINE_HANDLER = Subject(
    "SimpleChatEngine + handler",
    __name__,
    _stream_simple_engine_heard,
    _astream_simple_engine_heard,
    "SimpleChatEngine.stream_chat with OpenAI, one handler of deltas",
)
