"""The hosted agent's parts as LlamaIndex classes: consumers of traces tell models, tools and retrievers by class.

All of them run on the service, so calling one here raises `UnsupportedError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import CompletionResponse, CompletionResponseGen, LLMMetadata
from llama_index.core.bridge.pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from llama_index.core.llms import CustomLLM
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.tools import BaseTool, ToolMetadata, ToolOutput

from chat_sessions.core.errors import UnsupportedError

__all__ = [
    "HostedModel",
    "HostedRetriever",
    "HostedTool",
    "HostedToolError",
    "hosted_model",
    "model_dict",
    "model_name",
]


def model_name(service: str) -> str:
    """Return the name of a service's hosted agent in traces: the service does not say which model it uses."""
    return f"{service.replace('_', '-')}-chat"


class HostedMetadata(LLMMetadata):
    """What is known of the hosted agent's model."""

    index_ids: list[str] | None = Field(default=None, description="The indexes that the agent queries.")
    session_id: str | None = Field(default=None, description="The session that it answers in.")


class HostedModel(CustomLLM):
    """The hosted agent as an LLM."""

    _metadata: HostedMetadata = PrivateAttr()
    _service: str = PrivateAttr()

    def __init__(self, service: str, index_ids: Sequence[str] | None = None, session_id: str | None = None) -> None:
        super().__init__()
        self._service = service
        self._metadata = HostedMetadata(model_name=model_name(service), is_chat_model=True)
        # Tracers show the fields that were set.
        if index_ids is not None:
            self._metadata.index_ids = list(index_ids)
        if session_id is not None:
            self._metadata.session_id = session_id

    @property
    def service(self) -> str:
        """The service that it belongs to."""
        return self._service

    @property
    def metadata(self) -> HostedMetadata:
        """Its name, the indexes that it queries, and the session that it answers in."""
        return self._metadata

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: ARG002 - the base class's signature
        """Raise `UnsupportedError`."""
        raise UnsupportedError(
            "there is no model on this side: the hosted agent has its own. Structured output and "
            "early_stopping_method='generate' need a local model"
        )

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Raise `UnsupportedError`."""
        raise UnsupportedError(str(self.complete(prompt, formatted, **kwargs)))


@lru_cache(maxsize=256)
def hosted_model(service: str, index_ids: tuple[str, ...] | None, session_id: str | None) -> HostedModel:
    """Return the hosted agent as it answers in a session: one object for many turns, as any other model is."""
    return HostedModel(service, index_ids, session_id)


def model_dict(model: HostedModel) -> dict[str, object]:
    """Return what is known of the hosted agent as a model."""
    known = model.metadata.model_dump(include={"index_ids", "session_id"}, exclude_unset=True)
    return {"model": model.metadata.model_name, "provider": model.service, **known}


class AnyArguments(BaseModel):
    """The arguments of a hosted tool: the service does not publish a schema."""

    model_config = ConfigDict(extra="allow")


class HostedTool(BaseTool):
    """A tool of the hosted agent."""

    def __init__(self, name: str) -> None:
        self._metadata = ToolMetadata(name=name, description="A tool of the hosted agent.", fn_schema=AnyArguments)

    @property
    def metadata(self) -> ToolMetadata:
        """Its name."""
        return self._metadata

    def __call__(self, input: object) -> ToolOutput:  # noqa: ARG002 - the base class's signature
        """Raise `UnsupportedError`."""
        raise UnsupportedError(f"{self._metadata.name} runs on the service, within a turn; it cannot be called here")


class HostedToolError(RuntimeError):
    """A tool of the hosted agent failed; the message is its result."""


class HostedRetriever(BaseRetriever):
    """The retrieval within a tool run."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:  # noqa: ARG002 - the base class's signature
        raise UnsupportedError("the hosted agent retrieves on the service, within a turn; ask it with a chat engine")
