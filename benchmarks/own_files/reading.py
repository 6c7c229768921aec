"""Reading many files and finding passages in them, beside LlamaIndex's own: `python -m benchmarks.own_files.reading`.

Each reader is a process of its own, whose CPU counts with that of its children. The peer is what LlamaIndex has for the
same: `SimpleDirectoryReader`, `SentenceSplitter` and `BM25Retriever`, kept with `persist`. Its second start loads that,
and does not look at the files. It needs an older PyStemmer than this package, so it runs in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.own_files.files import write_files
from benchmarks.own_files.questions import QUESTIONS

if TYPE_CHECKING:
    from chat_sessions.server import Index

__all__ = ["main", "write_many"]

_WORDS = (
    "harbour", "engine", "invoice", "station", "sensor", "contract", "payment", "delivery", "ferry", "deposit",
    "warranty", "meeting", "budget", "repair", "battery", "window", "bridge", "summer", "winter", "report",
    "river", "valve", "pump", "licence", "member", "garden", "kitchen", "signal", "archive", "margin",
)  # fmt: skip
_SENTENCES, _PARAGRAPHS = 6, 12
_QUERIES = 200
_TURNS = 30


def write_many(folder: Path, count: int) -> None:
    """Write so many files in 50 folders: Markdown with tables, and a small share of each kind that is read."""
    draw = random.Random(7)
    kinds = folder / "kinds"
    kinds.mkdir(parents=True)
    write_files(kinds)
    for number in range(count - len(list(kinds.iterdir()))):
        place = folder / f"part-{number % 50:02d}"
        place.mkdir(exist_ok=True)
        parts = [f"# Record {number}\n"]
        for section in range(_PARAGRAPHS):
            said = (" ".join(draw.choices(_WORDS, k=11)) for _ in range(_SENTENCES))
            parts.append(f"## Section {section} of {draw.choice(_WORDS)} {number}\n")
            parts.append(" ".join(f"{one.capitalize()} {draw.randrange(10_000)}." for one in said) + "\n")
        rows = "\n".join(f"| N-{number}-{row} | {draw.randrange(1000)} |" for row in range(10))
        parts.append(f"| Part | Count |\n|---|---|\n{rows}\n")
        (place / f"record-{number}.md").write_text("\n".join(parts))


def main() -> None:
    """Write the files, run each reader, and print a table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--files", metavar="N", type=int, nargs="+", default=[1000, 5000])
    options.add_argument("--peer", metavar="PYTHON", help="a Python that has llama-index-retrievers-bm25")
    options.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.run:
        name, folder, kept = given.run
        print(json.dumps(_READERS[name](Path(folder), Path(kept))))
        return
    for count in given.files:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "files")
            write_many(folder, count)
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            print(f"{count:,} files, {size / 1e6:.1f} MB")
            for name in _READERS:
                python = sys.executable if name == "chat-sessions" else given.peer
                for start in ("first", "second") if python else ():
                    _show(f"{name}, {start} start", _run(python, name, folder, Path(place, name)))


def _run(python: str, name: str, folder: Path, kept: Path) -> dict[str, float]:
    command = [python, "-m", "benchmarks.own_files.reading", "--run", name, str(folder), str(kept)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _show(name: str, found: dict[str, float]) -> None:
    said = ", ".join(f"{key} {value:,.4g} {key_unit}" for key, value in found.items() if (key_unit := _UNITS[key]))
    print(f"  {name}: {said}")


_UNITS = {
    "passages": "in all", "CPU": "s", "wall": "s", "memory": "MB", "query": "ms", "slowest": "ms", "touched": "s",
    "check": "ms", "alone": "s", "first event": "ms", "first result": "ms",
}  # fmt: skip


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _timed(open_it: Callable[[], Callable[[str], object]]) -> tuple[dict[str, float], Callable[[str], object]]:
    """Open an index and ask it questions."""
    cpu, wall = _cpu(), time.perf_counter()
    query = open_it()
    found = {"CPU": _cpu() - cpu, "wall": time.perf_counter() - wall}
    found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    draw = random.Random(3)
    prompts = [asked.prompt for asked in QUESTIONS]
    prompts += [f"What is the {draw.choice(_WORDS)} of record {draw.randrange(900)}?" for _ in range(_QUERIES)]
    query(prompts[0])
    spent: list[float] = []
    for prompt in prompts:
        begun = time.process_time()
        query(prompt)
        spent.append((time.process_time() - begun) * 1e3)
    found["query"] = statistics.median(spent)
    found["slowest"] = max(spent)
    return found, query


def _ours(folder: Path, kept: Path) -> dict[str, float]:
    from chat_sessions.server import open_index

    opened: list[Index] = []

    def open_it() -> Callable[[str], object]:
        opened.append(open_index("idx-many", folder, index_store=kept))
        return lambda prompt: opened[0].search(prompt, limit=5)

    found, _ = _timed(open_it)
    (index,) = opened
    begun = _cpu()
    index.refresh()
    found["check"] = (_cpu() - begun) * 1e3
    touched = folder / "part-00" / "record-0.md"
    touched.write_text(touched.read_text() + "\nOne more line.\n")
    os.utime(touched, ns=(1, time.time_ns()))
    begun = _cpu()
    index.refresh()
    found["touched"] = _cpu() - begun
    begun = _cpu()
    open_index("idx-one", touched, index_store=":memory:")
    found["alone"] = _cpu() - begun
    found["first event"], found["first result"] = _waits(index)
    return {"passages": index.size, **found}


def _waits(index: Index) -> tuple[float, float]:
    """The median wait for a turn's first event, and for what it found: the look at the disk is between the two."""
    from chat_sessions import LocalServer, ToolResult

    firsts: list[float] = []
    results: list[float] = []
    with LocalServer({index.index_id: index}) as server:
        chat = server.client()
        for number in range(_TURNS):
            session = chat.session(chat.create().session_id)
            begun = time.perf_counter()
            with session.stream(f"What is the margin of record {number}?") as stream:
                for count, event in enumerate(stream):
                    if not count:
                        firsts.append((time.perf_counter() - begun) * 1e3)
                    if isinstance(event, ToolResult):
                        results.append((time.perf_counter() - begun) * 1e3)
                        break
                for _ in stream:
                    pass
    return statistics.median(firsts), statistics.median(results)


def _peer(folder: Path, kept: Path) -> dict[str, float]:
    from llama_index.core import SimpleDirectoryReader
    from llama_index.core.node_parser import SentenceSplitter
    from llama_index.retrievers.bm25 import BM25Retriever  # type: ignore[import-not-found]

    made: list[int] = []

    def open_it() -> Callable[[str], object]:
        if kept.exists():
            retriever = BM25Retriever.from_persist_dir(str(kept))
        else:
            # Its reader of presentations needs torch.
            documents = SimpleDirectoryReader(str(folder), recursive=True, exclude=["*.pptx"]).load_data()
            nodes = SentenceSplitter().get_nodes_from_documents(documents)
            made.append(len(nodes))
            retriever = BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=5)
            retriever.persist(str(kept))
        return retriever.retrieve

    found, _ = _timed(open_it)
    return {"passages": made[0] if made else 0, **found}


_READERS: dict[str, Callable[[Path, Path], dict[str, float]]] = {"chat-sessions": _ours, "LlamaIndex": _peer}


if __name__ == "__main__":
    main()
