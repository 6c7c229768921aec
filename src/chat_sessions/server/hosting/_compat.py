"""What the hosting needs and neither uvicorn nor Python offers in public.

`tests/server/hosting/test_compat.py` fails when one of these changes.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable

import uvicorn

__all__ = ["abort_connections", "call_at_exit"]


def abort_connections(server: uvicorn.Server) -> None:
    """Close a server's connections without waiting until their clients have read everything.

    `Server.server_state.connections` and `transport` of each are read from uvicorn 0.34 to 0.54; they have no
    underscore and no documentation. Without them, a client that does not read keeps the server from ending. uvicorn's
    own `timeout_graceful_shutdown` cancels the request and then waits until the transport's buffer is empty.
    """
    for connection in list(server.server_state.connections):
        connection.transport.abort()


def call_at_exit(function: Callable[[], None]) -> None:
    """Call a function when the interpreter exits, while executors and threads still work.

    `threading._register_atexit` is read from CPython 3.11 to 3.14, where `concurrent.futures` ends its executors with
    it; the function registered last is called first. When `atexit` calls, executors accept no more work and, from
    Python 3.12 on, no thread can start. A server that was never closed could then not store the ends of its turns.
    """
    register: Callable[[Callable[[], None]], object] = getattr(threading, "_register_atexit", atexit.register)
    register(function)
