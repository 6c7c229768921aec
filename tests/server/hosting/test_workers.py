"""The process that supervises the workers, by itself; what they serve is in `postgres/test_workers.py`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server import serve
from chat_sessions.server.hosting import process
from tests.server.scripted import PaperIndex


@pytest.mark.parametrize("store", [None, "sqlite:///chat.db"])
def test_several_workers_need_a_store_that_they_can_share(store: str | None) -> None:
    with pytest.raises(ConfigurationError, match=r"workers=2: several processes need a store.*postgresql://"):
        serve(indexes={"idx-docs": PaperIndex()}, store=store, workers=2)


@pytest.mark.parametrize("workers", [0, "2", 1.5, True, None])
def test_a_number_of_workers_that_is_none_is_an_error_that_shows_it(workers: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"workers={workers!r}: use a whole number above 0"):
        serve(indexes={"idx-docs": PaperIndex()}, workers=workers)


def test_where_processes_cannot_be_forked_there_is_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "can_fork", False)
    with pytest.raises(ConfigurationError, match="cannot fork processes; start several servers, each on a port"):
        serve(indexes={"idx-docs": PaperIndex()}, store="postgresql://me@host/db", workers=2)


# Workers that need no store: `work` is the body of the first argument, and says `ready()` itself.
_ALONE = """
import logging, os, signal, socket, sys, time
from pathlib import Path
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server.hosting.workers import Workers

logging.basicConfig(format="%(message)s")
lives = Path(sys.argv[2])

def life():
    with lives.open("a") as file:
        file.write("x")
    return lives.stat().st_size

def until_told():
    while True:
        signal.pause()

def work(ready, lifeline):
    exec(sys.argv[1])

try:
    Workers(1, work, listener=socket.socket(), patience=float(sys.argv[3])).run(lambda: print("ready", flush=True))
except ConfigurationError as error:
    print(error)
"""


@contextmanager
def looked_after(work: str, tmp_path: Path, patience: float = 600.0) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", _ALONE, work, str(tmp_path / "lives"), str(patience)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_a_worker_that_dies_is_replaced_until_one_lives_and_the_caller_is_told_once(tmp_path: Path) -> None:
    work = """
number = life()
if number == 1:
    ready()
    os._exit(3)
if number == 2:
    raise OSError("the database is away")
if number == 3:
    ready()
    print("serving", flush=True)
    until_told()
"""
    with looked_after(work, tmp_path) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["ready\n", "serving\n"]
        process.terminate()
        out, err = process.communicate()
    assert (process.returncode, out) == (0, "")
    told = [line.partition(" ended: ")[2] for line in err.splitlines()]
    assert told == ["exit code 3; another takes its place", "the database is away; another takes its place"]


def test_a_worker_that_fails_before_all_have_served_is_the_callers_error(tmp_path: Path) -> None:
    with looked_after("raise OSError('the database is away')", tmp_path) as process:
        assert process.communicate() == ("the database is away\n", "")
    assert process.returncode == 0


def test_a_worker_that_ends_without_a_word_is_an_error_too(tmp_path: Path) -> None:
    with looked_after("os._exit(7)", tmp_path) as process:
        assert process.communicate() == ("a worker ended before it served (code 7)\n", "")


def test_a_worker_that_does_not_end_is_killed(tmp_path: Path) -> None:
    work = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
ready()
until_told()
"""
    with looked_after(work, tmp_path, patience=0.1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.communicate() == ("", "")
    assert process.returncode == 0


def test_a_second_interrupt_is_passed_on_to_workers_that_drain(tmp_path: Path) -> None:
    work = """
signal.signal(signal.SIGTERM, lambda *_: print("drains", flush=True))
signal.signal(signal.SIGINT, lambda *_: os._exit(0))
ready()
while True:
    until_told()
"""
    with looked_after(work, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "drains\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate() == ("", "")
    assert process.returncode == 0
