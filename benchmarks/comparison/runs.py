"""Plays the cases to the clients, each in a process of its own that is ended when it hangs."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.comparison.cases import CASES, WARM_UP, Case, Service
from benchmarks.comparison.clients import Client
from benchmarks.comparison.outcomes import Outcome, Saw, judge
from benchmarks.comparison.replays import LangGraphReplay, OpenAIReplay, ReplayStage
from benchmarks.comparison.stages import ChatApiStage, Question, Stage

__all__ = ["ComparisonError", "Deadlines", "Table", "run"]

Table = Mapping[str, Mapping[str, Outcome]]
"""The outcomes, by the name of the client and that of the case."""

_ROOT = Path(__file__).parents[2]
# What would lead a client elsewhere, or tell others of its requests.
_FOREIGN = ("LANGCHAIN_", "LANGSMITH_", "LANGGRAPH_", "LLAMA_", "OPENAI_")


class ComparisonError(Exception):
    """Nothing can be compared: a client does not even work where nothing goes wrong."""


@dataclass(frozen=True)
class Deadlines:
    """Seconds: what clients are given where only a deadline helps, and otherwise; when one that has not ended hangs;
    how long the agent pauses in mid-answer."""

    silent: float = 2.0
    patient: float = 60.0
    hangs: float = 12.0
    hangs_patient: float = 120.0
    pause: float = 0.7


class _Worker:
    """A client's process, started anew after it hung. A context manager."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def ask(self, question: Question, *, hangs: float) -> Saw | None:
        """One answer; None if it has not ended `hangs` seconds later. Raises `ComparisonError` if its process ended."""
        process = self._process or self._start()
        assert process.stdin is not None
        try:
            # A process that has ended is found out below, by the end of its answers.
            with suppress(OSError):
                process.stdin.write(json.dumps(asdict(question)) + "\n")
                process.stdin.flush()
            line = self._lines.get(timeout=hangs)
        except queue.Empty:
            self.stop()
            return None
        if not line:
            self.stop()
            raise ComparisonError(f"the process that asks as {self._client.name} ended by itself")
        return Saw(**json.loads(line))

    def _start(self) -> subprocess.Popen[str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.upper().startswith(_FOREIGN) and not name.upper().endswith("_PROXY")
        }
        process = self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.comparison.worker", self._client.name],
            cwd=_ROOT,
            env=kept,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        lines = self._lines = queue.Queue[str]()
        self._reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
        self._reader.start()
        return process

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        self._process = None


def _read(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put("")


def _stage(service: Service, pause: float) -> Stage:
    if service == "Chat API":
        return ChatApiStage(pause=pause)
    return ReplayStage(OpenAIReplay(pause) if service == "OpenAI" else LangGraphReplay(pause))


def _column(
    client: Client, cases: Sequence[Case], deadlines: Deadlines, told: Callable[[str], None]
) -> dict[str, Outcome]:
    saw: dict[str, Saw | None] = {}
    with _stage(client.service, deadlines.pause) as stage, _Worker(client) as worker:
        for case in cases:
            if client.service not in case.services:
                continue
            if not worker.is_running:
                # So that no deadline has to do with imports.
                _check(client, worker.ask(stage.set(WARM_UP), hangs=120))
            question = replace(
                stage.set(case),
                seconds=deadlines.silent if case.silent else deadlines.patient,
                # Nothing can be found out about a turn that never ends.
                recovery=deadlines.silent if case.turn == "never ends" else deadlines.patient,
            )
            hangs = deadlines.hangs if case.silent else deadlines.hangs_patient
            saw[case.name] = worker.ask(question, hangs=hangs)
            told(f"{client.name}: {case.name}")
        # Only now: what was sent or begun late is counted as well.
        return {
            case.name: judge(case, saw[case.name], stage.seen(case), pause=deadlines.pause)
            for case in cases
            if case.name in saw
        }


def _check(client: Client, saw: Saw | None) -> None:
    """Raises `ComparisonError` unless the client read the answer where nothing went wrong."""
    if saw is None or saw.shown != WARM_UP.answer:
        why = "it did not end" if saw is None else f"it read {saw.shown[:80]!r} ({saw.error}: {saw.message})"
        raise ComparisonError(f"{client.name} does not work even where nothing goes wrong: {why}")


def run(
    clients: Sequence[Client],
    *,
    cases: Sequence[Case] = CASES,
    deadlines: Deadlines | None = None,
    jobs: int = 4,
    told: Callable[[str], None] = lambda _: None,
) -> Table:
    """Each case to each client, so many clients at a time; `told` hears of each case that is over.

    Raises `ComparisonError` for a client that does not work.
    """
    with ThreadPoolExecutor(jobs) as pool:
        columns = {
            client.name: pool.submit(_column, client, cases, deadlines or Deadlines(), told) for client in clients
        }
        try:
            return {name: column.result() for name, column in columns.items()}
        except BaseException:
            # Ctrl-C ends the workers, and with them the columns that have begun.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
