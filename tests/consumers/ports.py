"""Ports on loopback for servers that the tests start."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time

__all__ = ["free_port", "until_open", "wait_until_open"]

_TIMEOUT = 60
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


async def until_open(port: int) -> None:
    """Return when something listens on the port. Raises `TimeoutError` after a minute."""
    async with asyncio.timeout(_TIMEOUT):
        while not _is_open(port):
            await asyncio.sleep(_PAUSE)


def wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    """The same for a process of the test's. Raises `ChildProcessError` if it ends instead."""
    deadline = time.monotonic() + _TIMEOUT
    while not _is_open(port):
        if process.poll() is not None:
            raise ChildProcessError(f"{process.args} ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{process.args} does not listen on port {port}")
        time.sleep(_PAUSE)
