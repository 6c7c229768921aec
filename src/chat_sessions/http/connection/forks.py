"""What a fork waits for: a child would wait without end for a lock that a thread of its parent holds."""

from __future__ import annotations

import os
import threading
from functools import cache
from importlib import import_module

__all__ = ["load_for_asyncio", "no_fork"]

no_fork = threading.RLock()
"""A fork in another thread waits until this is released. For a moment only."""

if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(before=no_fork.acquire, after_in_parent=no_fork.release, after_in_child=no_fork.release)


@cache
def load_for_asyncio() -> None:
    """Import what httpcore and asyncio would import during the first request; call it within a running event loop.

    Each module has a lock while it is imported. Not earlier: it takes a while, and sync clients do without.
    """
    with no_fork:
        import anyio

        # asyncio looks up hosts in its threads.
        import_module("concurrent.futures.thread")
        # httpx needs anyio in any case. Making these imports its backend for the loop that runs.
        anyio.Lock()
        anyio.CancelScope()
