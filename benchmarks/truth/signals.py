"""Signals whose handler raises, as that of Ctrl-C does, between any two bytecodes of a turn: no session is stuck."""

from __future__ import annotations

import gc
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import FrameType

from tests.faults.playback import QUESTION, Playback, record
from tests.faults.speaker import SHORT, Speaker

from chat_sessions import ChatSession, ChatSessionsError, LlamaCloudChat, LocalServer
from chat_sessions.session import turn_queue

__all__ = ["hit_everywhere"]


class _Hit(BaseException):
    """What the handler raises."""


def _handler(_number: int, _frame: FrameType | None) -> None:
    raise _Hit


def _queue_alone(session: ChatSession) -> None:
    slot = turn_queue.wait_for_turn(session.client.queue_key(session.id or ""))
    slot.release()


def _ask(session: ChatSession) -> None:
    session.ask(QUESTION)


def _leave(session: ChatSession) -> None:
    for _ in session.stream(QUESTION):
        break


# What is hit, how many of the signals hit it, and within how many seconds of its beginning.
_WAYS: tuple[tuple[str, Callable[[ChatSession], None], float, float], ...] = (
    ("the queue alone", _queue_alone, 0.5, 60e-6),
    ("a turn", _ask, 0.25, 6e-3),
    ("a stream that is left", _leave, 0.25, 4e-3),
)


def hit_everywhere(signals: int) -> int:
    """Hit turns with that many signals; return how many sessions were stuck afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "note.md").write_text("# Note\n\nIt rose.\n")
        with LocalServer(indexes={"idx-docs": folder}, agent=Speaker(SHORT)) as server:
            recording = record(server)
    before = signal.signal(signal.SIGALRM, _handler)
    stuck = 0
    began = time.perf_counter()
    try:
        with Playback(*recording) as played, played.client() as chat:
            for name, way, share, within in _WAYS:
                found, errors = _hit(chat, way, round(signals * share), within)
                stuck += found
                print(f"  {name:24}{round(signals * share):>8,} signals{found:>8} stuck  {errors or ''}", flush=True)
    finally:
        signal.signal(signal.SIGALRM, before)
    print(f"{signals:,} signals, {time.perf_counter() - began:.0f} s: {stuck} sessions stuck")
    return stuck


def _hit(
    chat: LlamaCloudChat, way: Callable[[ChatSession], None], signals: int, within: float
) -> tuple[int, dict[str, int]]:
    choose = random.Random(1)
    hits = stuck = 0
    errors: dict[str, int] = {}
    lost: list[object] = []
    # A signal that hits a finaliser is raised nowhere.
    hook, sys.unraisablehook = sys.unraisablehook, lambda told: lost.append(told.exc_type)
    try:
        for number in count():
            if hits >= signals:
                return stuck, errors
            session_id = f"ses-{within}-{number}"
            key = chat.queue_key(session_id)
            try:
                signal.setitimer(signal.ITIMER_REAL, choose.uniform(1e-6, within))
                way(chat.session(session_id))
                signal.setitimer(signal.ITIMER_REAL, 0)
            except _Hit:
                hits += 1
            except ChatSessionsError as error:
                errors[type(error).__name__] = errors.get(type(error).__name__, 0) + 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            hits += len(lost)
            lost.clear()
            stuck += _is_stuck(key)
    finally:
        sys.unraisablehook = hook
    raise AssertionError


def _is_stuck(key: object) -> bool:
    """Whether the next turn of the session would have to wait."""
    line = turn_queue._lines.get(key)  # type: ignore[call-overload]
    if line is not None and line.places:
        del line
        gc.collect()
        line = turn_queue._lines.get(key)  # type: ignore[call-overload]
    is_held = turn_queue._lock._is_owned()  # type: ignore[attr-defined]
    return is_held or (line is not None and bool(line.places))
