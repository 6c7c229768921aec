from __future__ import annotations

from tests.server.chat_api.conftest import api, start

__all__ = ["api", "start"]
