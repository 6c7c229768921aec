"""Looks for a secret wherever an error could show it."""

from __future__ import annotations

import io
import pickle
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.traceback import Traceback

TESTS = str(Path(__file__).parents[1])


def shown(error: BaseException, *, locals_too: bool = True) -> str:
    """All that a log, a console or an error tracker could show of an error, with local variables or without.

    The frames of the tests are left out: it is they who give the key.
    """
    told = ["".join(traceback.format_exception(error))]
    for one in chain(error):
        told += [str(one), repr(one), repr(one.args), repr(vars(one)), repr(getattr(one, "__notes__", ()))]
        told += [*(_locals(one) if locals_too else ()), *_pickled(one)]
    return "\n".join(told)


def rich_traceback(error: BaseException) -> str:
    """The traceback as `rich` draws it, with local variables, without the frames of the tests."""
    console = Console(file=io.StringIO(), width=400)
    # Drawn from the first frame that is not a test's.
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(TESTS):
        frames = frames.tb_next
    console.print(
        Traceback.from_exception(
            type(error), error, frames, show_locals=True, locals_max_length=1000, locals_max_string=10_000
        )
    )
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and every error that it hangs on."""
    seen: list[BaseException] = []
    todo = [error]
    while todo:
        one = todo.pop()
        if one not in seen:
            seen.append(one)
            yield one
            todo += [other for other in (one.__cause__, one.__context__) if other is not None]


def own_frames(error: BaseException) -> int:
    """How many frames of the error are not the tests' own."""
    return sum(not frame.f_code.co_filename.startswith(TESTS) for frame, _ in traceback.walk_tb(error.__traceback__))


def _locals(error: BaseException) -> Iterator[str]:
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if not frame.f_code.co_filename.startswith(TESTS):
            yield from map(repr, frame.f_locals.values())


def _pickled(error: BaseException) -> Iterator[str]:
    # What cannot be pickled shows nothing there.
    with suppress(Exception):
        yield repr(pickle.dumps(error))
