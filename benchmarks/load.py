"""Loads worker processes on a real PostgreSQL, kills one of them in the middle, and counts what came of every turn.

    CHAT_SESSIONS_POSTGRES_URL=postgresql://me@127.0.0.1/db python -m benchmarks.load

A database of its own is made there and dropped. The clients are those of this package, in two processes, so that
two of them do ask one session at once now and then and meet a 409. A turn whose worker was killed is asked again
under another prompt, until it is answered. Ends with 1 when an acknowledged turn is lost, doubled or changed, when
something that a client has read of a broken turn is gone, or when a session is stuck.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import queue
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tests.server.postgresql import VARIABLE, new_database

from chat_sessions import APIConnectionError, AsyncLlamaCloudChat, ConflictError, InternalServerError, TurnError
from chat_sessions.core.events import Event, TextDelta, Thinking, ToolCall, ToolResult
from chat_sessions.core.turn import Turn, replay
from chat_sessions.server import AgentTurn, serve

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

_KEY = "load"
_INDEX = "idx-load"
_WORDS = 12
# Seconds between two words of an answer: a turn takes long enough to be cut.
_PACE = 0.01
_LOADERS = 2
_AGAIN = 0.2


class Echo:
    """Answers with the prompt, word by word, and with the number of the process that it runs in."""

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        yield Thinking(content=str(os.getpid()))
        yield ToolCall(call_id="c", name="retrieve", arguments={"query": turn.prompt})
        yield ToolResult(call_id="c", name="retrieve", result={"results": []})
        for number in range(_WORDS):
            await asyncio.sleep(_PACE)
            yield TextDelta(content=f"{turn.prompt}/{number} ")


@dataclass(frozen=True)
class Outcome:
    """What a client was told of one attempt: `answered` with the whole text, `broken` with what came before."""

    kind: Literal["answered", "broken", "conflict", "unreachable"]
    session_id: str = ""
    prompt: str = ""
    text: str = ""
    worker: int = 0
    events: int = 0
    error: str = ""


@dataclass
class Report:
    """The count of everything; `problems` is empty when all is well."""

    turns: int = 0
    found_once: int = 0
    lost: int = 0
    duplicated: int = 0
    changed: int = 0
    stuck: int = 0
    conflicts: int = 0
    broken: int = 0
    unreachable: int = 0
    killed: int | None = None
    events: int = 0
    seconds: float = 0.0
    errors: Counter[str] = field(default_factory=Counter[str])

    @property
    def is_well(self) -> bool:
        """Whether every acknowledged turn is there once, as it was read, and no session is stuck."""
        return not (self.lost or self.duplicated or self.changed or self.stuck) and self.found_once == self.turns

    def __str__(self) -> str:
        lines = [
            f"turns acknowledged   {self.turns:>8,}",
            f"  found once         {self.found_once:>8,}",
            f"  lost               {self.lost:>8,}",
            f"  duplicated         {self.duplicated:>8,}",
            f"  not as read        {self.changed:>8,}",
            f"sessions stuck       {self.stuck:>8,}",
            f"worker killed        {self.killed or 'none':>8}",
            f"turns cut by it      {self.broken:>8,}   asked again",
            f"409s                 {self.conflicts:>8,}   asked again",
            f"refused connections  {self.unreachable:>8,}   asked again",
            f"events per second    {self.events / self.seconds:>8,.0f}   {self.events:,} in {self.seconds:.1f} s",
        ]
        lines += [f"  {count} x {error}" for error, count in self.errors.most_common()]
        return "\n".join(lines)


def run(*, store: str, workers: int, sessions: int, turns: int, clients: int, kill: bool) -> Report:
    """Loads a server on the store, and looks at what is in it afterwards."""
    with _server(store, workers) as url:
        ids = asyncio.run(_create(url, sessions))
        started = time.monotonic()
        report, outcomes = _load(url, ids, turns, clients, kill=kill)
        report.seconds = time.monotonic() - started
        asyncio.run(_examine(url, ids, outcomes, report))
    return report


@contextmanager
def _server(store: str, workers: int) -> Generator[str]:
    """A server in a process of its own, ended like any other at the end."""
    command = [sys.executable, "-m", "benchmarks.load", "--serve", "--workers", str(workers)]
    environment = {**os.environ, "CHAT_SESSIONS_STORE": store}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, cwd=Path(__file__).parents[1]
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                raise SystemExit("the server did not start")
            yield url
            process.terminate()
            process.wait(60)
        finally:
            process.kill()


def _serve(workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "note.md").write_text("# Note\n\nNobody reads this.\n")
        serve(
            indexes={_INDEX: folder},
            agent=Echo(),
            store=os.environ["CHAT_SESSIONS_STORE"],
            api_key=_KEY,
            port=0,
            workers=workers,
            on_listening=lambda url, _key: print(url, flush=True),
        )


def _client(url: str) -> AsyncLlamaCloudChat:
    return AsyncLlamaCloudChat(base_url=url, api_key=_KEY, index_ids=[_INDEX])


async def _create(url: str, count: int) -> list[str]:
    async with _client(url) as chat:
        return [(await chat.create()).session_id for _ in range(count)]


def _load(url: str, ids: Sequence[str], turns: int, clients: int, *, kill: bool) -> tuple[Report, list[Outcome]]:
    """Every turn asked until it is answered; what was told of each attempt."""
    work = [(ids[number % len(ids)], f"t{number}") for number in range(turns)]
    random.Random(4).shuffle(work)
    context = multiprocessing.get_context("spawn")
    told: Queue[Outcome] = context.Queue()
    loaders = [
        context.Process(target=_ask_all, args=(url, work[number::_LOADERS], clients // _LOADERS, told))
        for number in range(_LOADERS)
    ]
    for loader in loaders:
        loader.start()
    report = Report()
    outcomes: list[Outcome] = []
    try:
        while report.turns < turns:
            try:
                outcome = told.get(timeout=5)
            except queue.Empty:
                if not any(loader.is_alive() for loader in loaders):
                    raise SystemExit("the clients ended before their work was done") from None
                continue
            outcomes.append(outcome)
            report.events += outcome.events
            report.turns += outcome.kind == "answered"
            report.broken += outcome.kind == "broken"
            report.conflicts += outcome.kind == "conflict"
            report.unreachable += outcome.kind == "unreachable"
            if outcome.kind in ("broken", "unreachable"):
                report.errors[outcome.error] += 1
            if kill and report.killed is None and report.turns >= turns // 2:
                os.kill(outcome.worker, signal.SIGKILL)
                report.killed = outcome.worker
    finally:
        for loader in loaders:
            if report.turns < turns:
                loader.kill()
            loader.join()
    return report, outcomes


def _ask_all(url: str, work: Sequence[tuple[str, str]], clients: int, told: Queue[Outcome]) -> None:
    waiting = list(work)

    async def client() -> None:
        async with _client(url) as chat:
            while waiting:
                session_id, prompt = waiting.pop()
                attempt = 0
                while (outcome := await _ask(chat, session_id, f"{prompt}.{attempt}")).kind != "answered":
                    told.put(outcome)
                    attempt += outcome.kind == "broken"
                    await asyncio.sleep(_AGAIN)
                told.put(outcome)

    async def every() -> None:
        await asyncio.gather(*(client() for _ in range(clients)))

    asyncio.run(every())


async def _ask(chat: AsyncLlamaCloudChat, session_id: str, prompt: str) -> Outcome:
    events = 0
    try:
        async with chat.stream(session_id, prompt) as stream:
            async for _ in stream:
                events += 1
            turn = await stream.result()
    except ConflictError:
        return Outcome("conflict")
    except (APIConnectionError, InternalServerError) as error:
        return Outcome("unreachable", error=f"{type(error).__name__}: {error}")
    except TurnError as error:
        told = f"{type(error).__name__}: {error}".replace(session_id, "…")
        return Outcome("broken", session_id, prompt, error.turn.text, events=events, error=told)
    return Outcome("answered", session_id, prompt, turn.text, int(turn.thinking), events)


async def _examine(url: str, ids: Sequence[str], outcomes: Sequence[Outcome], report: Report) -> None:
    """Compares what the clients were told with what the sessions hold; asks each session once more."""
    stored: dict[str, dict[str, list[Turn]]] = {}
    async with _client(url) as chat:
        for session_id in ids:
            found = stored[session_id] = {}
            for turn in replay((await chat.retrieve(session_id)).events):
                found.setdefault(turn.prompt or "", []).append(turn)
            is_stuck = any(not turn.is_complete for same in found.values() for turn in same)
            report.stuck += is_stuck or (await _ask(chat, session_id, "last")).kind != "answered"
    for outcome in outcomes:
        if outcome.kind not in ("answered", "broken"):
            continue
        same = stored[outcome.session_id].get(outcome.prompt, [])
        if outcome.kind == "broken":
            # It may not have arrived, or it is there once, with all that was read of it.
            report.duplicated += len(same) > 1
            report.lost += bool(outcome.text) and not (same and same[0].text.startswith(outcome.text))
            continue
        report.lost += not same
        report.duplicated += len(same) > 1
        if len(same) == 1:
            as_read = same[0].text == outcome.text and same[0].error is None
            report.found_once += as_read
            report.changed += not as_read


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--turns", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--no-kill", action="store_true", help="let every worker live")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.serve:
        _serve(given.workers)
        return 0
    if not os.environ.get(VARIABLE):
        parser.error(f"set {VARIABLE} to a PostgreSQL, such as postgresql://me@127.0.0.1/db")
    with new_database() as store:
        report = run(
            store=store,
            workers=given.workers,
            sessions=given.sessions,
            turns=given.turns,
            clients=given.clients,
            kill=not given.no_kill,
        )
    print(report)
    return 0 if report.is_well else 1


if __name__ == "__main__":
    sys.exit(main())
