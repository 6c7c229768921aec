"""LangChain: our chat model, and its own base class over the same stream and over a source in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig

from benchmarks.floors import acount_words, count_words, read, read_async
from benchmarks.subject import Bench, Subject
from chat_sessions.langchain import SessionChatModel

__all__ = ["CHAT_MODEL", "CHAT_MODEL_EVENTS", "CHAT_MODEL_HANDLER", "STOCK_EVENTS", "STOCK_MODEL", "L"]


class Handler(BaseCallbackHandler):
    """Counts tokens."""

    count = 0

    def on_llm_new_token(self, token: str | list[str | dict[str, Any]], **kwargs: Any) -> None:  # noqa: ARG002 - the base class's
        self.count += 1


class AsyncHandler(AsyncCallbackHandler):
    """Counts tokens. LangChain sends a sync handler's calls through a thread pool, whatever the model."""

    count = 0

    async def on_llm_new_token(self, token: str | list[str | dict[str, Any]], **kwargs: Any) -> None:  # noqa: ARG002 - the base class's
        self.count += 1


class StockModel(BaseChatModel):
    """The base class as anybody would use it: `_stream` over pieces of text."""

    source: Callable[[str], Iterator[str]]
    asource: Callable[[str], AsyncIterator[str]]

    @property
    def _llm_type(self) -> str:
        return "stock"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:  # noqa: ARG002
        text = "".join(self.source(messages[-1].text))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=text))])

    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:  # noqa: ARG002
        for piece in self.source(messages[-1].text):
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))

    async def _astream(
        self,
        messages: list[BaseMessage],
        *args: Any,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for piece in self.asource(messages[-1].text):
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))


def text_of(message: AIMessageChunk | None) -> str:
    """The text as users of `content` find it; content that is not text is left out."""
    content: object = None if message is None else message.content
    return content if isinstance(content, str) else ""


def _model(bench: Bench) -> SessionChatModel:
    return bench.once("model", lambda: SessionChatModel(client=bench.chat, index_ids=["idx"]))


def _stock(bench: Bench) -> StockModel:
    return bench.once(
        "stock", lambda: StockModel(source=lambda plan: read(bench, plan), asource=lambda plan: read_async(bench, plan))
    )


def _in_process(bench: Bench) -> StockModel:
    return bench.once("in process", lambda: StockModel(source=count_words, asource=acount_words))


def _streamed(model: Callable[[Bench], BaseChatModel], name: str, title: str, *, with_handler: bool = False) -> Subject:
    def stream(bench: Bench, plan: str) -> Iterator[str]:
        config: RunnableConfig | None = {"callbacks": [Handler()]} if with_handler else None
        for chunk in model(bench).stream(plan, config, **_session(plan, model)):
            if text := text_of(chunk):
                yield text

    async def astream(bench: Bench, plan: str) -> AsyncIterator[str]:
        config: RunnableConfig | None = {"callbacks": [AsyncHandler()]} if with_handler else None
        async for chunk in model(bench).astream(plan, config, **_session(plan, model)):
            if text := text_of(chunk):
                yield text

    return Subject(name, __name__, stream, astream, title)


def _evented(model: Callable[[Bench], BaseChatModel], name: str, title: str) -> Subject:
    async def events(bench: Bench, plan: str) -> AsyncIterator[str]:
        arguments: dict[str, Any] = _session(plan, model)
        async for event in model(bench).astream_events(plan, version="v2", **arguments):
            if event["event"] == "on_chat_model_stream" and (text := text_of(event["data"].get("chunk"))):
                yield text

    return Subject(name, __name__, None, events, title)


def _session(plan: str, model: Callable[[Bench], BaseChatModel]) -> dict[str, Any]:
    # The stock model reads its plan from the prompt.
    return {"session_id": plan} if model is _model else {}


L = _streamed(_in_process, "L", "L: BaseChatModel.stream over a source in this process")
STOCK_MODEL = _streamed(_stock, "stock model", "BaseChatModel.stream over T")
STOCK_EVENTS = _evented(_stock, "stock events", "BaseChatModel.astream_events(v2) over T")
CHAT_MODEL = _streamed(_model, "chat model", "SessionChatModel.stream")
CHAT_MODEL_HANDLER = _streamed(
    _model, "chat model + handler", "SessionChatModel.stream, one handler", with_handler=True
)
CHAT_MODEL_EVENTS = _evented(_model, "chat model events", "SessionChatModel.astream_events(v2)")
