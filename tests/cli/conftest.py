"""The program as a person runs it, with real files and a real server.

`program` is a process of its own; `command` runs the same within the test's process, which takes a
tenth of the time, for what does not depend on the process.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chat_sessions import LocalServer
from chat_sessions.cli import main
from chat_sessions.cli.show.terminal import Terminal
from chat_sessions.core.events import Event
from chat_sessions.server import AgentTurn, Behaviour

DOCUMENTS = Path(__file__).parents[2] / "examples" / "documents"
KEY = "llx-test-key"
COMMAND = (sys.executable, "-m", "chat_sessions")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def session_id(self) -> str:
        found = re.search(r"ses-[0-9a-f]+", self.err + self.out)
        assert found is not None, self
        return found[0]


def checked(result: Result) -> Result:
    """The result. Whatever the program is given, it prints no traceback and no control character."""
    assert "Traceback" not in result.err, result
    assert not _CONTROL.search(result.out + result.err), result
    return result


class Program:
    """Runs `chat-sessions` as a person does: in a process of its own."""

    def __init__(self, data: Path, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[str]] = []
        # The person's own settings of Python, of the terminal and of the service are not those of a test.
        others = ("PYTHON", "LLAMA_", "COLUMNS", "FORCE_COLOR", "NO_COLOR")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(others)}
        if "PYTHONPATH" in os.environ:
            self.env["PYTHONPATH"] = os.environ["PYTHONPATH"]
        self.env |= {"CHAT_SESSIONS_DATA": str(data), "CHAT_SESSIONS_CONFIG": str(data.with_name("config.json"))}
        self.env |= {"PYTHONUTF8": "1", "COLUMNS": "80"}

    def __call__(self, *arguments: str, stdin: str = "", env: dict[str, str] | None = None) -> Result:
        process = self.start(*arguments, env=env)
        return self.finish(process, stdin)

    def redirected(self, redirection: str, *arguments: str) -> Result:
        """Run the program from a shell that redirects its streams."""
        process = self._start(["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *COMMAND, *arguments], None)
        return self.finish(process, "")

    def python(self, code: str) -> Result:
        """Run the program from Python code of its own."""
        return self.finish(self.start_python(code), "")

    def start_python(self, code: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        return self._start([sys.executable, "-c", code], env)

    def start(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        return self._start([*COMMAND, *arguments], env)

    def _start(self, command: Sequence[str], env: dict[str, str] | None) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            cwd=self._folder,
            env=self.env | (env or {}),
        )
        self._running.append(process)
        return process

    def finish(self, process: subprocess.Popen[str], stdin: str | None = None) -> Result:
        """What the process printed since it was last read, once it has ended."""
        out, err = process.communicate(stdin)
        return checked(Result(process.returncode, out, err))

    @staticmethod
    def interrupt(process: subprocess.Popen[str]) -> None:
        """Press Ctrl-C, again where nothing comes of it.

        Python loses a signal that arrives just before it begins to wait in the kernel: it notes it, and waits.
        """
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)

    def close(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()
            with suppress(ValueError):
                process.communicate()


class Commands:
    """Runs the same commands within the test's process, where none of what is tested is about the process."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self._env = env
        self._folder = folder

    def __call__(self, *arguments: str, stdin: str = "", env: dict[str, str] | None = None) -> Result:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            for name, value in {"COLUMNS": "80", **self._env, **(env or {})}.items():
                patch.setenv(name, value)
            patch.chdir(self._folder)
            patch.setattr(sys, "argv", ["chat-sessions", *arguments])
            for name, stream in {"stdin": io.StringIO(stdin), "stdout": out, "stderr": err}.items():
                patch.setattr(sys, name, stream)
            with pytest.raises(SystemExit) as ended:
                main()
        shown: list[str] = []
        for stream in (out, err):
            stream.seek(0)
            shown.append(stream.read())
        return checked(Result(int(ended.value.code or 0), *shown))


@pytest.fixture(autouse=True)
def no_openhands_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may see the developer's own server, key or model."""
    for name in ("OPENHANDS_BASE_URL", "OPENHANDS_API_KEY", "LLM_MODEL", "LLM_API_KEY", "LLM_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("CHAT_SESSIONS_BACKEND", raising=False)


@pytest.fixture(autouse=True)
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The config file of the test, which does not exist yet."""
    path = tmp_path / "config.json"
    monkeypatch.setenv("CHAT_SESSIONS_CONFIG", str(path))
    return path


@pytest.fixture
def command(tmp_path: Path) -> Commands:
    folder = tmp_path / "work"
    folder.mkdir(exist_ok=True)
    return Commands({"CHAT_SESSIONS_DATA": str(tmp_path / "data")}, folder)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    folder = tmp_path / "work"
    folder.mkdir(exist_ok=True)
    made = Program(tmp_path / "data", folder)
    yield made
    made.close()


class ScriptedAgent:
    """Gives `events`; those after the first `held` wait until `release` is called.

    `left` is set when the turn has ended or was cancelled.
    """

    def __init__(self, events: Sequence[Event], *, held: int | None = None) -> None:
        self._events = events
        self._held = held
        self._gate: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._begun = threading.Event()
        self.left = threading.Event()

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        gate = asyncio.Event()
        self._gate = asyncio.get_running_loop(), gate
        self._begun.set()
        try:
            for number, event in enumerate(self._events):
                if number == self._held:
                    await gate.wait()
                yield event
        finally:
            self.left.set()

    def release(self) -> None:
        assert self._begun.wait(timeout=30)
        assert self._gate is not None
        loop, gate = self._gate
        loop.call_soon_threadsafe(gate.set)


class Serving:
    """Starts local servers with an agent of the test's own; `options` lead the program to them."""

    def __init__(self) -> None:
        self._servers: list[LocalServer] = []

    def __call__(self, agent: ScriptedAgent | None = None, behaviour: Behaviour | None = None) -> LocalServer:
        server = LocalServer(indexes={"idx-docs": DOCUMENTS}, agent=agent, behaviour=behaviour, api_key=KEY)
        self._servers.append(server)
        return server.start()

    def close(self) -> None:
        for server in self._servers:
            server.close()


@pytest.fixture
def serving() -> Iterator[Serving]:
    made = Serving()
    yield made
    made.close()


class Answering(Terminal):
    """A terminal at which a user types this."""

    def __init__(self, typed: str) -> None:
        super().__init__()
        self._typed = typed
        self.seen: list[str] = []

    @property
    def is_interactive(self) -> bool:
        return True

    def notice(self, text: str) -> None:
        self.seen.append(text)

    def ask(self, question: str) -> str:
        return self._typed


def at(server: LocalServer, *, key: str = KEY) -> list[str]:
    """The options that lead the program to a server."""
    return ["--base-url", server.url, "--api-key", key]
