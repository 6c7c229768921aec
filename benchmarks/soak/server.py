"""The server of a soak, in processes of its own, which are killed and started again on the same address and store."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from chat_sessions.core.events import Event, TextDelta, Thinking, ThinkingDelta, ToolCall, ToolResult
from chat_sessions.server import AgentTurn, serve

__all__ = ["INDEX", "KEY", "Server"]

KEY = "soak"
INDEX = "idx-soak"
# Seconds between two words of an answer, at the most: a turn takes long enough to be cut.
_PACE = 0.05
_WORDS = 20


class Talker:
    """Answers with the words of the prompt again and again, after a thought and a tool, now and then with two."""

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        choose = random.Random(turn.prompt)
        for number in range(choose.randint(1, 2)):
            yield ThinkingDelta(content=f"{os.getpid()} ")
            yield Thinking(content=f"{os.getpid()} thinks.")
            yield ToolCall(call_id=f"c{number}", name="retrieve", arguments={"query": turn.prompt})
            yield ToolResult(call_id=f"c{number}", name="retrieve", result={"results": []})
            for word in range(choose.randint(1, _WORDS)):
                await asyncio.sleep(choose.uniform(0, _PACE))
                yield TextDelta(content=f"{turn.prompt}/{number}/{word} ")


class Server:
    """The process, and whatever it forks."""

    def __init__(self, store: str, workers: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._environment = {**os.environ, "CHAT_SESSIONS_STORE": store}
        self._workers = workers
        self._process: subprocess.Popen[str] | None = None
        self.starts = 0

    def start(self) -> None:
        """Start it, and return when it listens."""
        command = [sys.executable, "-m", "benchmarks.soak.server", str(self._port), str(self._workers)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=self._environment, cwd=Path(__file__).parents[2]
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise SystemExit("the server did not start")
        self.starts += 1

    def kill(self) -> None:
        """End it and all its workers at once, in mid-turn."""
        assert self._process is not None
        for worker in self.workers():
            os.kill(worker, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def stop(self) -> bool:
        """End it as a supervisor does; whether it went well."""
        assert self._process is not None
        self._process.terminate()
        try:
            status = self._process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        assert self._process.stdout is not None
        self._process.stdout.close()
        return status in (0, -signal.SIGTERM)

    def workers(self) -> list[int]:
        """The processes that it forked."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def kill_worker(self) -> None:
        """End one worker at once; the others answer on, and it is replaced."""
        if workers := self.workers():
            os.kill(random.choice(workers), signal.SIGKILL)

    def memory(self) -> float:
        """MiB that the process and its workers hold, each page as often as it is mapped."""
        assert self._process is not None
        pages = 0
        for pid in (self._process.pid, *self.workers()):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _serve(port: int, workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "note.md").write_text("# Note\n\nNobody reads this.\n")
        serve(
            indexes={INDEX: folder},
            agent=Talker(),
            store=os.environ["CHAT_SESSIONS_STORE"],
            api_key=KEY,
            port=port,
            workers=workers,
            on_listening=lambda url, _key: print(url, flush=True),
        )


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
