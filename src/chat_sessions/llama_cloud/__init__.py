"""The LlamaCloud (LlamaParse Platform) Chat API as a backend."""

from chat_sessions.llama_cloud.client import AsyncLlamaCloudChat, LlamaCloudChat

__all__ = ["AsyncLlamaCloudChat", "LlamaCloudChat"]
