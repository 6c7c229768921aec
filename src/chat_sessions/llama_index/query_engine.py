"""A hosted chat session as a LlamaIndex query engine: one question, one answer, its sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import Response
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import QueryBundle

from chat_sessions.core.errors import UnsupportedError

if TYPE_CHECKING:
    from chat_sessions.llama_index.engine import SessionChatEngine

__all__ = ["SessionQueryEngine"]


class SessionQueryEngine(BaseQueryEngine):
    """Answers queries over an engine's indexes. Made by `SessionChatEngine.as_query_engine`.

    Each query has a session of its own, so that no answer depends on another question; with `new_session=False` each is
    a turn of the engine's session. `query` and `aquery` return a `Response` with `source_nodes`, and raise what
    `SessionChatEngine.chat` raises.
    """

    def __init__(self, engine: SessionChatEngine, *, new_session: bool = True) -> None:
        super().__init__(callback_manager=engine.callback_manager)
        self._engine = engine
        self._new_session = new_session

    def retrieve(self, query_bundle: QueryBundle) -> NoReturn:  # noqa: ARG002 - the base class's signature
        """Raise `UnsupportedError`: the service retrieves within a turn."""
        raise UnsupportedError(
            "the hosted agent retrieves on the service: call query(), whose source_nodes are what it found"
        )

    def _query(self, query_bundle: QueryBundle) -> Response:
        engine = self._engine
        if self._new_session:
            engine = engine.in_session(engine.memory.new_session())
        return _response(engine.chat(query_bundle.query_str))

    async def _aquery(self, query_bundle: QueryBundle) -> Response:
        engine = self._engine
        if self._new_session:
            engine = engine.in_session(await engine.memory.anew_session())
        return _response(await engine.achat(query_bundle.query_str))

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}


def _response(answer: AgentChatResponse) -> Response:
    return Response(response=answer.response, source_nodes=answer.source_nodes, metadata=answer.metadata)
