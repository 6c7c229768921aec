"""The faults of `chat_sessions.testing`, under the name that they had before."""

from __future__ import annotations

from chat_sessions.testing.faults import *  # noqa: F403 (each of its names)
from chat_sessions.testing.faults import __all__ as __all__
