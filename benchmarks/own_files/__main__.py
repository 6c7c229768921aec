"""Asks all questions through a local server, and prints what came: `python -m benchmarks.own_files [--misses]`."""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.own_files.files import write_files
from benchmarks.own_files.questions import QUESTIONS, Question
from benchmarks.own_files.small_model import small_model
from chat_sessions import LocalServer, Turn
from chat_sessions.server import LlmAgent, open_index

_SOURCES = 3


def main() -> None:
    """Write the files, ask, and print a table; with `OPENAI_BASE_URL` and `--llm`, let that model answer."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--llm", metavar="MODEL", help="a model at OPENAI_BASE_URL that answers")
    options.add_argument("--misses", action="store_true", help="print each question that was not answered")
    options.add_argument("--max-tokens", metavar="N", type=int, default=300, help="the longest answer of that model")
    options.add_argument("--small", metavar="ENVIRONMENT", type=Path, help="answer with the model in this environment")
    given = options.parse_args()
    if given.small:
        with small_model(given.small) as address:
            _ask_all(LlmAgent.at("SmolLM2 135M", address, max_tokens=given.max_tokens), "SmolLM2 135M", given.misses)
        return
    agent = LlmAgent.at(given.llm, max_tokens=given.max_tokens) if given.llm else None
    _ask_all(agent, given.llm, given.misses)


def _ask_all(agent: LlmAgent | None, model: str | None, misses: bool) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "files")
        folder.mkdir()
        write_files(folder)
        os.environ["CHAT_SESSIONS_CACHE"] = str(Path(place, "cache"))
        count = len(list(folder.iterdir()))
        first = _cpu(lambda: open_index("idx-own", folder))
        second = _cpu(lambda: open_index("idx-own", folder))
        with LocalServer(indexes={"idx-own": folder}, agent=agent) as server:
            client = server.client()
            turns = [(asked, client.session().ask(asked.prompt)) for asked in QUESTIONS]
    print(f"{len(QUESTIONS)} questions over {count} files, answered by {model or 'quotes'}")
    print(f"  reading them: {first:.2f} s of CPU, and {second:.3f} s at the second start")
    for name, judge in (
        ("the first source is the right file and page", lambda asked, turn: _is_among(asked, turn, 1)),
        (f"it is among the first {_SOURCES} sources", lambda asked, turn: _is_among(asked, turn, _SOURCES)),
        ("the answer has the words that it must have", _is_answered),
        ("what was found is denied", _is_denied),
        ("a sentence is in no passage that was found", _is_invented if model is None else None),
    ):
        if judge is None:
            continue
        found = [(asked, turn) for asked, turn in turns if judge(asked, turn)]
        print(f"  {name}: {len(found)} of {len(turns)}, {100 * len(found) / len(turns):.0f} %")
    if misses:
        for asked, turn in turns:
            if _is_denied(asked, turn) or not (_is_answered(asked, turn) and _is_among(asked, turn, _SOURCES)):
                named = [(source.file_name, source.page) for source in turn.sources[:_SOURCES]]
                print(
                    f"\n{asked.prompt}\n  wanted {asked.file} {asked.page} {asked.words!r}, got {named}\n  {turn.text}"
                )


def _is_among(asked: Question, turn: Turn, count: int) -> bool:
    return any((source.file_name, source.page) == (asked.file, asked.page) for source in turn.sources[:count])


def _is_answered(asked: Question, turn: Turn) -> bool:
    return asked.words in turn.text


def _is_denied(asked: Question, turn: Turn) -> bool:
    return turn.text.startswith("No ") and any(asked.words in source.text for source in turn.sources)


def _is_invented(_: Question, turn: Turn) -> bool:
    passages = " ".join(" ".join(source.text.split()) for source in turn.sources)
    own = ("No ", "Quoted from", "[")
    for part in turn.text.split("\n\n"):
        for line in part.rpartition(" [")[0].splitlines() or part.splitlines():
            pieces = [" ".join(piece.split()).strip("| ") for piece in line.split("…")]
            if not part.startswith(own) and not all(piece in passages for piece in pieces):
                return True
    return False


def _cpu(run: Callable[[], object]) -> float:
    """Return the seconds of CPU that something takes, here and in the processes that read."""

    def spent() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    before = spent()
    run()
    return spent() - before


if __name__ == "__main__":
    main()
