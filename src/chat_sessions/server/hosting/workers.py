"""Several processes that serve one listening socket, and the parent that supervises them.

The processes are forked, so documents are read once and shared. They accept connections from a single socket, whose
queue outlives any of them. The parent replaces a process that died, and forwards the signal that ends them all. A pipe
shows them when the parent itself has died.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from multiprocessing.process import BaseProcess
from typing import NoReturn

from chat_sessions.core.errors import ConfigurationError

__all__ = ["Workers", "can_fork", "when_readable"]

_log = logging.getLogger(__name__)

_ENDING = (signal.SIGINT, signal.SIGTERM)
# A worker that lived for less time is replaced after a pause, which grows with each one.
_SHORT_LIFE = 5.0
_LONGEST_PAUSE = 30.0

can_fork = "fork" in multiprocessing.get_all_start_methods()


@dataclass
class _Worker:
    process: BaseProcess
    report: Connection
    started: float = field(default_factory=time.monotonic)
    is_ready: bool = False
    failure: str | None = None

    def listen(self) -> None:
        """Read what the worker has reported: that it serves, or why it cannot."""
        with contextlib.suppress(EOFError):
            while self.report.poll():
                said: object = self.report.recv()
                self.is_ready = self.is_ready or said is True
                self.failure = said if isinstance(said, str) else self.failure


class Workers:
    """`count` processes that each call `work(ready, lifeline)`.

    `work` calls `ready` when it serves, and ends on SIGTERM or when the descriptor `lifeline` becomes readable, which
    is when the parent has died. `patience` is how many seconds it may take to end before it is killed. `listener` is
    closed here when the workers are asked to end, so that the last of them frees the port.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[Callable[[], None], int], None],
        *,
        listener: socket.socket,
        patience: float,
    ) -> None:
        self._count = count
        self._work = work
        self._listener = listener
        self._patience = patience
        self._workers: list[_Worker] = []
        self._pause = 0.0
        self._signals: list[int] = []
        self._lifeline, self._held = os.pipe()

    def run(self, on_ready: Callable[[], None]) -> None:
        """Serve until SIGINT or SIGTERM; `on_ready` is called once, when every worker serves.

        A second SIGINT ends the workers at once. Raises `ConfigurationError` if one fails before all of them serve.
        """
        with self._heard() as wakeup:
            try:
                self._start_all(on_ready, wakeup)
                self._replace_the_dead(wakeup)
            finally:
                self._end_all(wakeup)

    def _start_all(self, on_ready: Callable[[], None], wakeup: socket.socket) -> None:
        for _ in range(self._count):
            self._start()
        while not self._signals:
            self._wait(wakeup, self._workers, None)
            for worker in self._dead():
                if not worker.is_ready:
                    code = worker.process.exitcode
                    raise ConfigurationError(worker.failure or f"a worker ended before it served (code {code})")
            if all(worker.is_ready for worker in self._workers):
                on_ready()
                return

    def _replace_the_dead(self, wakeup: socket.socket) -> None:
        due: list[float] = []
        while not self._signals:
            for worker in list(self._dead()):
                self._workers.remove(worker)
                reason = worker.failure or _ending_of(worker.process)
                is_short = not worker.is_ready or time.monotonic() - worker.started < _SHORT_LIFE
                self._pause = min(_LONGEST_PAUSE, max(0.5, 2 * self._pause)) if is_short else 0.0
                _log.warning("worker %s ended: %s; another takes its place", worker.process.pid, reason)
                worker.report.close()
                due.append(time.monotonic() + self._pause)
            for moment in [moment for moment in due if moment <= time.monotonic()]:
                due.remove(moment)
                self._start()
            self._wait(wakeup, self._workers, max(0.0, min(due) - time.monotonic()) if due else None)

    def _end_all(self, wakeup: socket.socket) -> None:
        self._listener.close()
        self._send(signal.SIGTERM)
        passed_on = 1
        deadline = time.monotonic() + self._patience
        while living := [worker for worker in self._workers if worker.process.exitcode is None]:
            left = deadline - time.monotonic()
            if left <= 0:
                self._send(signal.SIGKILL)
            self._wait(wakeup, living, max(left, 0.1), reports=False)
            if signal.SIGINT in self._signals[passed_on:]:
                self._send(signal.SIGINT)
            passed_on = max(passed_on, len(self._signals))
        for worker in self._workers:
            worker.process.join()
            worker.process.close()
            worker.report.close()
        os.close(self._lifeline)
        os.close(self._held)

    def _send(self, number: int) -> None:
        for worker in self._workers:
            if worker.process.exitcode is None and worker.process.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.process.pid, number)

    def _dead(self) -> Iterator[_Worker]:
        for worker in self._workers:
            if worker.process.exitcode is not None:
                worker.listen()
                yield worker

    def _wait(
        self, wakeup: socket.socket, workers: Sequence[_Worker], seconds: float | None, *, reports: bool = True
    ) -> None:
        """Wait for a signal, the end of one of the workers, or one to become ready; at most `seconds`."""
        # `workers` are as the caller last saw them: one that has ended since then ends the wait.
        pending = [worker for worker in workers if reports and not worker.is_ready]
        found = wait(
            [wakeup, *(worker.process.sentinel for worker in workers), *(worker.report for worker in pending)], seconds
        )
        if wakeup in found:
            wakeup.recv(4096)
        for worker in pending:
            worker.listen()

    def _start(self) -> None:
        report, reporting = Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(target=self._serve, args=(reporting,))
        # Between the fork and the worker's first statement, the parent's handler would run for a signal.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            with warnings.catch_warnings():
                # Python 3.12 warns of threads, including those of numerical libraries, which handle forks themselves.
                warnings.simplefilter("ignore", DeprecationWarning)
                process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        reporting.close()
        self._workers.append(_Worker(process, report))

    def _serve(self, report: Connection) -> NoReturn:
        """Run the worker, in its own process."""
        signal.set_wakeup_fd(-1)
        for number in _ENDING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        os.close(self._held)
        code = 1
        try:
            self._work(lambda: report.send(True), self._lifeline)
            code = 0
        except KeyboardInterrupt:
            # From the agent: the server handles Ctrl-C itself.
            code = 128 + signal.SIGINT
        except Exception as error:  # noqa: BLE001 (the parent must hear of it, whatever it is)
            _log.debug("the worker failed", exc_info=True)
            with contextlib.suppress(OSError):
                report.send(str(error) or type(error).__name__)
        # Without `sys.exit`: the parent's exit handlers are not for the worker.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)

    @contextmanager
    def _heard(self) -> Generator[socket.socket]:
        """Collect the signals that end the server. Yields a socket that becomes readable when one arrives."""

        def note(number: int, _frame: object) -> None:
            self._signals.append(number)

        reading, writing = socket.socketpair()
        with reading, writing:
            writing.setblocking(False)
            handlers = {number: signal.signal(number, note) for number in _ENDING}
            descriptor = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
            try:
                yield reading
            finally:
                signal.set_wakeup_fd(descriptor)
                for number, handler in handlers.items():
                    signal.signal(number, handler)


@contextmanager
def when_readable(descriptor: int, act: Callable[[], None]) -> Generator[None]:
    """Call `act` once if the descriptor becomes readable within the block."""
    loop = asyncio.get_running_loop()

    def readable() -> None:
        loop.remove_reader(descriptor)
        act()

    loop.add_reader(descriptor, readable)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)


def _ending_of(process: BaseProcess) -> str:
    code = process.exitcode or 0
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
