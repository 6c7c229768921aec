"""The clients: each asks once, the way its documentation shows, and hands on what a reader sees, piece by piece.

Imported by the worker alone, client by client: only one of them has to be installed.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from uuid import uuid4

import httpx
import httpx_sse

from benchmarks.comparison.cases import Service
from benchmarks.comparison.stages import INDEX, Question
from chat_sessions import ChatSession, LlamaCloudChat, TextDelta, Timeouts

__all__ = ["CLIENTS", "Answer", "Client", "versions"]


@dataclass
class Answer:
    """What a reader has been given: the pieces as they came, and the text that the client itself holds at the end."""

    show: Callable[[str], None]
    text: str | None = None


# Raises what the client raises.
Ask = Callable[[Question, Answer], None]


@dataclass(frozen=True)
class Client:
    """A way to ask: its name in the table, the service, the module whose errors are its own, the packages that it
    needs, and what it is."""

    name: str
    service: Service
    root: str
    packages: tuple[str, ...]
    ask: Ask
    how: str
    ours: bool = False

    @property
    def is_installed(self) -> bool:
        """Whether all its packages are there."""
        try:
            versions(self)
        except PackageNotFoundError:
            return False
        return True


def versions(client: Client) -> dict[str, str]:
    """The versions of its packages. Raises `PackageNotFoundError`."""
    return {package: version(package) for package in client.packages}


def _session(question: Question) -> tuple[ChatSession, ChatSession]:
    """A session that is created without haste, and the same one for a turn with these deadlines; keep both."""
    seconds = question.seconds
    timeouts = Timeouts(first_event=seconds, idle=seconds, recovery=question.recovery)
    patient = LlamaCloudChat(api_key=question.api_key, base_url=question.url, index_ids=[INDEX])
    created = patient.session()
    created.create()
    hasty = LlamaCloudChat(api_key=question.api_key, base_url=question.url, index_ids=[INDEX], timeouts=timeouts)
    return created, hasty.session(created.id)


def ask_client(question: Question, answer: Answer) -> None:
    _held, session = _session(question)
    with session.stream(question.prompt) as stream:
        for event in stream:
            if isinstance(event, TextDelta):
                answer.show(event.content)
    answer.text = stream.turn.text


def ask_engine(question: Question, answer: Answer) -> None:
    from chat_sessions.llama_index import SessionChatEngine

    _held, session = _session(question)
    response = SessionChatEngine.from_session(session).stream_chat(question.prompt)
    for piece in response.response_gen:
        answer.show(piece)
    answer.text = response.response


def ask_model(question: Question, answer: Answer) -> None:
    from chat_sessions.langchain import SessionChatModel

    _held, session = _session(question)
    for chunk in SessionChatModel.from_session(session).stream(question.prompt):
        answer.show(str(chunk.text))


# Any: none of the packages below is there where the types are checked.


def _official(question: Question) -> tuple[Any, str]:
    official: Any = importlib.import_module("llama_cloud")
    client = official.LlamaCloud(api_key=question.api_key, base_url=question.url, timeout=question.seconds)
    # The short deadline is the turn's alone.
    return client, client.with_options(timeout=30).chat.create(index_ids=[INDEX]).session_id


def _show_event(event: Any, answer: Answer) -> bool:
    """Shows the text of an event of the Chat API; gives whether it is the end."""
    if event["type"] == "text_delta":
        answer.show(event["content"])
    return bool(event["type"] == "stop")


def _show_lines(lines: Iterator[str], answer: Answer) -> None:
    for line in lines:
        if line.startswith("data: ") and _show_event(json.loads(line.removeprefix("data: ")), answer):
            break


def ask_official(question: Question, answer: Answer) -> None:
    client, session_id = _official(question)
    body = client.chat.stream(session_id, index_ids=[INDEX], prompt=question.prompt)
    # It is the whole stream as one text. Not splitlines(): that splits at more than line ends.
    _show_lines(iter(str(body).replace("\r", "\n").split("\n")), answer)


def ask_official_lines(question: Question, answer: Answer) -> None:
    client, session_id = _official(question)
    with client.chat.with_streaming_response.stream(session_id, index_ids=[INDEX], prompt=question.prompt) as response:
        _show_lines(response.iter_lines(), answer)


def ask_official_stream(question: Question, answer: Answer) -> None:
    client, session_id = _official(question)
    stream_class: Any = importlib.import_module("llama_cloud").Stream[object]
    with client.post(
        f"/api/v1/chat/{session_id}/messages/stream",
        cast_to=object,
        body={"index_ids": [INDEX], "prompt": question.prompt},
        stream=True,
        stream_cls=stream_class,
    ) as stream:
        for event in stream:
            if _show_event(event, answer):
                break


def ask_httpx_sse(question: Question, answer: Answer) -> None:
    headers = {"Authorization": f"Bearer {question.api_key}"}
    body = {"index_ids": [INDEX]}
    with httpx.Client(base_url=question.url, headers=headers, timeout=question.seconds) as client:
        session_id = client.post("/api/v1/chat", json=body, timeout=30).raise_for_status().json()["session_id"]
        path = f"/api/v1/chat/{session_id}/messages/stream"
        with httpx_sse.connect_sse(client, "POST", path, json={**body, "prompt": question.prompt}) as source:
            source.response.raise_for_status()
            for sse in source.iter_sse():
                if _show_event(json.loads(sse.data), answer):
                    break


def ask_openai(question: Question, answer: Answer) -> None:
    openai: Any = importlib.import_module("openai")
    client = openai.OpenAI(api_key=question.api_key, base_url=f"{question.url}/v1", timeout=question.seconds)
    messages = [{"role": "user", "content": question.prompt}]
    with client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=True) as stream:
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                answer.show(chunk.choices[0].delta.content)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    # One loop for all: the client's connections are kept from one question to the next.
    return asyncio.new_event_loop()


def _chat_openai(question: Question) -> Any:
    chat_openai: Any = importlib.import_module("langchain_openai").ChatOpenAI
    return chat_openai(
        model="gpt-4o-mini",
        api_key=question.api_key,
        base_url=f"{question.url}/v1",
        timeout=question.seconds,
        stream_chunk_timeout=question.seconds,
    )


def ask_chat_openai(question: Question, answer: Answer) -> None:
    for chunk in _chat_openai(question).stream(question.prompt):
        answer.show(str(chunk.text))


def ask_chat_openai_async(question: Question, answer: Answer) -> None:
    async def ask() -> None:
        async for chunk in _chat_openai(question).astream(question.prompt):
            answer.show(str(chunk.text))

    _loop().run_until_complete(ask())


def ask_simple_engine(question: Question, answer: Answer) -> None:
    llm: Any = importlib.import_module("llama_index.llms.openai").OpenAI(
        model="gpt-4o-mini", api_key=question.api_key, api_base=f"{question.url}/v1", timeout=question.seconds
    )
    engine: Any = importlib.import_module("llama_index.core.chat_engine").SimpleChatEngine
    response = engine.from_defaults(llm=llm).stream_chat(question.prompt)
    for piece in response.response_gen:
        answer.show(piece)
    answer.text = str(response.response)


def _ask_remote_graph(question: Question, answer: Answer, **options: bool) -> None:
    remote: Any = importlib.import_module("langgraph.pregel.remote").RemoteGraph
    client: Any = importlib.import_module("langgraph_sdk").get_sync_client(
        url=question.url, api_key=None, timeout=question.seconds
    )
    graph = remote("agent", sync_client=client)
    config = {"configurable": {"thread_id": str(uuid4())}}
    messages = {"messages": [{"role": "user", "content": question.prompt}]}
    for message, _ in graph.stream(messages, config, stream_mode="messages", **options):
        answer.show(message["content"])


def ask_remote_graph(question: Question, answer: Answer) -> None:
    _ask_remote_graph(question, answer)


def ask_remote_graph_resumable(question: Question, answer: Answer) -> None:
    _ask_remote_graph(question, answer, stream_resumable=True)


CLIENTS: tuple[Client, ...] = (
    Client(
        "`session.stream`",
        "Chat API",
        "chat_sessions",
        ("chat-sessions", "httpx"),
        ask_client,
        "this package's client",
        ours=True,
    ),
    Client(
        "`SessionChatEngine`",
        "Chat API",
        "chat_sessions",
        ("chat-sessions", "llama-index-core"),
        ask_engine,
        "this package in LlamaIndex, `stream_chat`",
        ours=True,
    ),
    Client(
        "`SessionChatModel`",
        "Chat API",
        "chat_sessions",
        ("chat-sessions", "langchain-core"),
        ask_model,
        "this package in LangChain, `stream`",
        ours=True,
    ),
    Client(
        "SDK, `chat.stream`",
        "Chat API",
        "llama_cloud",
        ("llama-cloud", "httpx"),
        ask_official,
        "the official SDK's method, which returns the raw stream as one string at its end; read here line by line",
    ),
    Client(
        "SDK, by lines",
        "Chat API",
        "llama_cloud",
        ("llama-cloud", "httpx"),
        ask_official_lines,
        "the recipe of the service's guide: `with_streaming_response`, `iter_lines`, `json`, until `stop`",
    ),
    Client(
        "SDK, `Stream`",
        "Chat API",
        "llama_cloud",
        ("llama-cloud", "httpx"),
        ask_official_stream,
        "the official SDK's decoder: `client.post(..., stream=True, stream_cls=Stream[object])`, until `stop`",
    ),
    Client(
        "httpx-sse",
        "Chat API",
        "httpx_sse",
        ("httpx-sse", "httpx"),
        ask_httpx_sse,
        "`connect_sse`, `raise_for_status`, `iter_sse`, `json`, until `stop`",
    ),
    Client("openai", "OpenAI", "openai", ("openai",), ask_openai, "`chat.completions.create(stream=True)`"),
    Client(
        "`ChatOpenAI`",
        "OpenAI",
        "langchain_openai",
        ("langchain-openai", "openai"),
        ask_chat_openai,
        "LangChain, `stream`",
    ),
    Client(
        "`ChatOpenAI`, async",
        "OpenAI",
        "langchain_openai",
        ("langchain-openai", "openai"),
        ask_chat_openai_async,
        "LangChain, `astream`, its `stream_chunk_timeout` as short as the other deadlines",
    ),
    Client(
        "`SimpleChatEngine`",
        "OpenAI",
        "llama_index",
        ("llama-index-core", "llama-index-llms-openai", "openai"),
        ask_simple_engine,
        "LlamaIndex with its OpenAI model, `stream_chat`",
    ),
    Client(
        "`RemoteGraph`",
        "LangGraph",
        "langgraph_sdk",
        ("langgraph", "langgraph-sdk"),
        ask_remote_graph,
        'LangGraph, `stream(stream_mode="messages")`',
    ),
    Client(
        "`RemoteGraph`, resumable",
        "LangGraph",
        "langgraph_sdk",
        ("langgraph", "langgraph-sdk"),
        ask_remote_graph_resumable,
        "the same with `stream_resumable=True`",
    ),
)
