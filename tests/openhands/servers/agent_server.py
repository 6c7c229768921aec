"""An OpenHands Agent Server of a given release, on loopback, in a folder and an environment of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from chat_sessions.openhands import OpenHandsChat
from chat_sessions.session import Timeouts

__all__ = ["API_KEY", "MAX_RUNS", "AgentServer"]

API_KEY = "key-of-the-tests"
# How many conversations of a server may run at once, as many as the readers of `four_readers`; 1.18.1 has no limit.
MAX_RUNS = 4
_READY_WITHIN = 100.0


class AgentServer:
    """A running server. `kill` and `start` again are a crash and a restart: it keeps what it has stored."""

    def __init__(self, version: str, interpreter: Path, folder: Path, model_url: str) -> None:
        self.version = version
        self._interpreter = interpreter
        self._folder = folder
        self.model_url = model_url
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def home(self) -> Path:
        """The home folder of the server's user."""
        return self._folder / "home"

    @property
    def is_new(self) -> bool:
        return not self.version.startswith("1.18.")

    @property
    def llm(self) -> dict[str, Any]:
        """The scripted model; without retries, which wait for seconds."""
        return {"model": "openai/scripted", "api_key": "sk-none", "base_url": self.model_url, "num_retries": 0}

    @property
    def seeing_llm(self) -> dict[str, Any]:
        """The same under a name that the server takes for a model that sees images, and whose prices it knows."""
        return {**self.llm, "model": "openai/gpt-4o"}

    @property
    def workspace(self) -> Path:
        """The folder of the agents."""
        return self._folder / "workspace"

    def client(self, **arguments: Any) -> OpenHandsChat:
        conversation = {"autotitle": False, "max_iterations": 10, **arguments.pop("conversation", {})}
        return OpenHandsChat(
            **{
                "base_url": self.url,
                "api_key": API_KEY,
                "llm": self.llm,
                "workspace": str(self.workspace),
                "timeouts": Timeouts(connect=5, first_event=20, idle=20, recovery=20),
                "conversation": conversation,
                **arguments,
            }
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        for name in ("home", "workspace", "tmux"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": f"{self._interpreter.parent}:/usr/bin:/bin",
            "HOME": str(self._folder / "home"),
            "LANG": "C.UTF-8",
            "TMUX_TMPDIR": str(self._folder / "tmux"),
            "OH_SESSION_API_KEYS_0": API_KEY,
            "OH_SECRET_KEY": "only-for-tests",
            "OH_MAX_CONCURRENT_RUNS": str(MAX_RUNS),
            "OH_ENABLE_VSCODE": "false",
            "OH_PRELOAD_TOOLS": "false",
            "OH_ENABLE_BROWSER": "false",
            "OH_CONVERSATIONS_PATH": str(self._folder / "conversations"),
            "OH_BASH_EVENTS_DIR": str(self._folder / "bash_events"),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "OPENHANDS_SUPPRESS_BANNER": "1",
        }
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._interpreter, "-m", "openhands.agent_server", "--host", "127.0.0.1", "--port", str(self.port)],
                env=environment,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        tick, waited = threading.Event(), 0.0
        while waited < _READY_WITHIN and self._process.poll() is None:
            try:
                if httpx.get(f"{self.url}/ready", timeout=1).is_success:
                    return
            except httpx.TransportError:
                pass
            tick.wait(0.1)
            waited += 0.1
        tail = (self._folder / "server.log").read_text("utf-8", "replace")[-2000:]
        self.kill()
        raise RuntimeError(f"the agent server {self.version} did not become ready:\n{tail}")

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As a crash does."""
        self._end(signal.SIGKILL)

    def _end(self, with_signal: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(with_signal)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # What it started, shells and terminal servers above all, is in its own session.
        for sock in (self._folder / "tmux").glob("*/openhands-*"):
            subprocess.run(["tmux", "-S", sock, "kill-server"], capture_output=True, check=False, env={**os.environ})


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
