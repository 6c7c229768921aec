"""Run the long runs of what a turn promises, and print their figures. Ends with 1 if a promise was broken.

python -m benchmarks.truth                  all of them: an hour
python -m benchmarks.truth tellings         1,000,000 random turns, told, stored and cut in any way
python -m benchmarks.truth sweep            a cut at every byte, through six surfaces, in sessions of three kinds
python -m benchmarks.truth signals          20,000 signals
python -m benchmarks.truth schedules        10,000 schedules of faults, as `python -m benchmarks.faults`
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.faults import play_schedules
from benchmarks.truth.signals import hit_everywhere
from benchmarks.truth.sweep import cut_everywhere
from benchmarks.truth.tellings import compare

_RUNS = ("signals", "sweep", "schedules", "tellings")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.truth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", metavar="run", help=", ".join(_RUNS))
    parser.add_argument("--turns", type=int, default=1_000_000, help="random turns")
    parser.add_argument("--signals", type=int, default=20_000)
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first random turn and the first schedule")
    parser.add_argument("--turn", choices=("short", "long"), default="short", help="that is cut: 15 or 200 events")
    parser.add_argument("--stride", type=int, default=1, help="cut it at one of so many bytes")
    given = parser.parse_args()
    if unknown := set(given.runs) - set(_RUNS):
        parser.error(f"no such run: {', '.join(sorted(unknown))}")
    broken = 0
    for run in given.runs or _RUNS:
        print(f"\n{run}", flush=True)
        if run == "signals":
            broken += hit_everywhere(given.signals)
        elif run == "sweep":
            broken += cut_everywhere(given.turn, given.stride)
        elif run == "schedules":
            broken += play_schedules(given.schedules, given.seed).broken.total()
        else:
            broken += compare(given.turns, given.seed)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
