"""The hosted agent's parts as LlamaIndex classes: consumers of traces tell models, tools and retrievers by class.

All of them run on the service, so calling one here raises `NotImplementedError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import CompletionResponse, CompletionResponseGen, LLMMetadata
from llama_index.core.bridge.pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from llama_index.core.llms import CustomLLM
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.tools import BaseTool, ToolMetadata, ToolOutput

__all__ = ["HostedModel", "HostedRetriever", "HostedTool", "model_name"]


def model_name(service: str) -> str:
    """Return the name of a service's hosted agent in traces: the service does not say which model it uses."""
    return f"{service.replace('_', '-')}-chat"


class HostedMetadata(LLMMetadata):
    """What is known of the hosted agent's model."""

    index_ids: list[str] | None = Field(default=None, description="The indexes that the agent queries.")


class HostedModel(CustomLLM):
    """The hosted agent as an LLM."""

    _metadata: HostedMetadata = PrivateAttr()

    def __init__(self, service: str, index_ids: Sequence[str] | None = None) -> None:
        super().__init__()
        self._metadata = HostedMetadata(model_name=model_name(service), is_chat_model=True)
        if index_ids is not None:
            self._metadata.index_ids = list(index_ids)

    @property
    def metadata(self) -> LLMMetadata:
        """Its name, and the indexes that it queries."""
        return self._metadata

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Raise `NotImplementedError`."""
        raise NotImplementedError(
            "there is no model on this side: the hosted agent has its own. Structured output and "
            "early_stopping_method='generate' need a local model"
        )

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Raise `NotImplementedError`."""
        raise NotImplementedError(str(self.complete(prompt, formatted, **kwargs)))


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

    def __call__(self, input: object) -> ToolOutput:
        """Raise `NotImplementedError`."""
        raise NotImplementedError(f"{self._metadata.name} runs on the service, within a turn; it cannot be called here")


class HostedRetriever(BaseRetriever):
    """The retrieval within a tool run."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        raise NotImplementedError("the hosted agent retrieves on the service, within a turn; ask it with a chat engine")
