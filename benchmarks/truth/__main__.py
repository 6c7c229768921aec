"""Run the long runs of what a turn promises, and print their figures. Ends with 1 if a promise was broken.

    python -m benchmarks.truth tellings sweep signals
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.truth.tellings import compare


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.truth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", help="tellings, sweep, signals; all of them by default")
    parser.add_argument("--cases", type=int, default=1_000_000, help="random turns")
    parser.add_argument("--seed", type=int, default=0, help="number of the first random turn")
    given = parser.parse_args()
    sys.exit(1 if compare(given.cases, given.seed) else 0)


if __name__ == "__main__":
    main()
