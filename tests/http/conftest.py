from __future__ import annotations

from tests.llama_cloud.conftest import chat, no_waiting, sync_chat, wire

__all__ = ["chat", "no_waiting", "sync_chat", "wire"]
