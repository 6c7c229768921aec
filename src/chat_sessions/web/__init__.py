"""A page to look at: sessions, turns as they happen, tool runs, and sources with their page images.

`create_app` makes an ASGI application over any backend. The backend and its key stay in this process; the browser
sees neither. Needs the extra `web`.
"""

from __future__ import annotations

from chat_sessions.core.errors import ConfigurationError

try:
    from chat_sessions.web.app import create_app
    from chat_sessions.web.export import export
    from chat_sessions.web.hosting import run
except ModuleNotFoundError as error:
    if (error.name or "").startswith("chat_sessions"):
        raise
    raise ConfigurationError(
        f"the page and exports need the extra `web` ({error.name} is missing): pip install 'chat-sessions[web]'"
    ) from error

__all__ = ["create_app", "export", "run"]
