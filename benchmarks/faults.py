"""Plays thousands of schedules of faults against the client, and counts what it promised and did not keep.

`python -m benchmarks.faults` plays 10,000 schedules, each through the sync and the async client: one to three turns
on one session, any `Behaviour` of the service, faults of `chat_sessions.testing` at any byte. httpx and
httpcore are real, sockets and time are simulated, so that a minute's deadline costs nothing and a seed gives the same
run again. Then 1,000 streams with random faults on real sockets: nothing may be left of them. Ends with status 1 if a
promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.leaks import run_streams
from tests.faults.playback import record
from tests.faults.speaker import SHORT, Speaker
from tests.simulation.promises import PROMISES, Broken, Tally, check
from tests.simulation.schedule import draw

from chat_sessions import LocalServer

_SHOWN = 5


def play_schedules(schedules: int, seed: int) -> Tally:
    """The counts of that many schedules; those that broke a promise are printed, up to five."""
    tally = Tally()
    began = time.perf_counter()
    for number in range(seed, seed + schedules):
        try:
            check(draw(random.Random(number)), tally)
        except Broken as broken:
            tally.broken[broken.promise] += 1
            if tally.broken.total() <= _SHOWN:
                print(f"seed {number}: {broken}\n", file=sys.stderr)
    seconds = time.perf_counter() - began
    print(f"{schedules:,} schedules (seeds {seed} to {seed + schedules - 1}), {tally.turns:,} turns, {seconds:.0f} s\n")
    for name, count in tally.outcomes.most_common():
        print(f"  {name:24}{count:>9,}")
    print()
    for promise in PROMISES:
        print(f"  {promise:24}{tally.broken[promise]:>9,}")
    return tally


def leave_nothing(streams: int) -> bool:
    """Whether nothing is left of that many streams on real sockets."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "note.md").write_text("# Note\n\nIt rose.\n")
        with LocalServer(indexes={"idx-docs": folder}, agent=Speaker(SHORT)) as server:
            recording = record(server)
    began = time.perf_counter()
    left = asyncio.run(run_streams(recording, streams))
    ends = ", ".join(f"{name} {count}" for name, count in left.ends.most_common())
    print(f"\n{streams:,} streams on real sockets, {time.perf_counter() - began:.0f} s: {ends}")
    print(
        f"left behind: {left.sockets} sockets, {left.tasks} tasks, {left.threads} threads, "
        f"{len(left.warnings)} warnings {left.warnings[:3] or ''}"
    )
    return not (left.sockets or left.tasks or left.threads or left.warnings)


def main() -> None:
    """Run both parts and print their counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first schedule; the others follow")
    parser.add_argument("--streams", type=int, default=1000)
    arguments = parser.parse_args()
    kept = not play_schedules(arguments.schedules, arguments.seed).broken
    kept = leave_nothing(arguments.streams) and kept
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
