"""The LlamaCloud (LlamaParse Platform) Chat API as a backend."""

from chat_sessions.llama_cloud.async_client import AsyncLlamaCloudChat
from chat_sessions.llama_cloud.client import LlamaCloudChat

__all__ = ["AsyncLlamaCloudChat", "LlamaCloudChat"]
