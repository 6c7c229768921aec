"""Ports on loopback for servers that the tests start."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import uvicorn

__all__ = ["free_port", "serving", "wait_until_open"]

_TIMEOUT = 300
_PAUSE = 0.05


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def _is_open(port: int) -> bool:
    with socket.socket() as asking:
        asking.settimeout(1)
        return asking.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def serving(app: Any, port: int) -> Generator[None]:
    """Serve an ASGI application of a consumer's on this port."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + _TIMEOUT
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise TimeoutError(f"the application does not start on port {port}")
            time.sleep(_PAUSE)
        yield
    finally:
        server.should_exit = True
        thread.join()


def wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return when the process listens on the port. Raises `ChildProcessError` if it ends instead."""
    deadline = time.monotonic() + _TIMEOUT
    while not _is_open(port):
        if process.poll() is not None:
            raise ChildProcessError(f"{process.args!r} ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{process.args!r} does not listen on port {port}")
        time.sleep(_PAUSE)
