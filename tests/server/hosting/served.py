"""A server in a process of its own, which a test may kill: `... tests.server.hosting.served STORE WORKERS DRAIN`."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from chat_sessions.core.events import Event, TextDelta, Thinking, ToolCall, ToolResult
from chat_sessions.server import AgentTurn, serve
from tests.server.scripted import Api, PaperIndex

ROOT = Path(__file__).parents[3]
KEY = "key"

# What a turn streams when nothing stops it, with the server's own wholes.
STREAMED = [
    "thinking_delta",
    "thinking",
    "tool_call",
    "tool_result",
    "text_delta",
    "text_delta",
    "text_delta",
    "text",
    "stop",
]


def held_after(events: int, go: Path | str = "never") -> str:
    """A prompt whose answer stops after so many events of the agent, until the file exists."""
    return f"{events} {go}"


class Held:
    """Gives six events, and pauses where its prompt says. The first tells in which process it runs."""

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        after, _, go = turn.prompt.partition(" ")
        events: list[Event] = [
            Thinking(content=str(os.getpid())),
            ToolCall(call_id="c", name="retrieve", arguments={}),
            ToolResult(call_id="c", name="retrieve", result={"results": []}),
            TextDelta(content="One "),
            TextDelta(content="two "),
            TextDelta(content="three."),
        ]
        for number, event in enumerate(events):
            if after == str(number):
                await _until_there(go)
            yield event


async def _until_there(file: str) -> None:
    # Another process makes it, so that there is nothing to be woken by.
    while not os.path.exists(file):  # noqa: ASYNC110, ASYNC240, PTH110
        await asyncio.sleep(0.01)


class Served:
    """The process. Leaving the block kills it, and what workers it has left."""

    def __init__(
        self, store: str = "", *, workers: int = 1, drain: float = 10.0, command: Sequence[str] | None = None
    ) -> None:
        """`command` is another one that serves, such as the command line's, and prints its address first."""
        self._process = subprocess.Popen(
            command or [sys.executable, "-m", "tests.server.hosting.served", store, str(workers), str(drain)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Its workers are ended with it, whatever becomes of the process itself.
            start_new_session=True,
        )
        self._clients = ExitStack()
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip().removeprefix("LLAMA_CLOUD_BASE_URL=")

    def api(self) -> Api:
        """A client with a connection of its own, closed at the end."""
        api = Api(self.url, KEY)
        self._clients.callback(api.http.close)
        return api

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """Kills the process, and waits until it has gone."""
        self._process.kill()
        self._process.wait()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Waits for the end; gives the exit code and what was printed on stderr."""
        _, err = self._process.communicate()
        return self._process.returncode, err

    def __enter__(self) -> Self:
        if not self.url:
            raise AssertionError(self.end())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._clients.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


if __name__ == "__main__":
    serve(
        indexes={"idx-docs": PaperIndex()},
        agent=Held(),
        store=sys.argv[1],
        workers=int(sys.argv[2]),
        drain=float(sys.argv[3]),
        api_key=KEY,
        port=0,
        on_listening=lambda url, _key: print(url, flush=True),
    )
