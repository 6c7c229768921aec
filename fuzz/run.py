"""The command line of a fuzz target."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable

__all__ = ["run"]


def run(name: str, description: str | None, trouble: Callable[[int], tuple[str | None, int]]) -> None:
    """Fuzz for the time given; print how many streams were tried, and the seed to begin with again.

    `trouble` tells what is wrong with the stream of a seed, None if nothing is, and its size in bytes. What is wrong is
    printed with the seed that makes it again, and the exit status is 1.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="of the first stream; the others follow")
    parser.add_argument("--streams", type=int, default=None, help="stop after so many")
    arguments = parser.parse_args()
    first = random.randrange(10**9) if arguments.seed is None else arguments.seed
    over = time.monotonic() + arguments.seconds
    seed, size = first, 0
    while time.monotonic() < over and (arguments.streams is None or seed - first < arguments.streams):
        problem, length = trouble(seed)
        size += length
        if problem is not None:
            print(f"seed {seed}: {problem}\nagain: python -m fuzz.{name} --seed {seed} --streams 1")
            sys.exit(1)
        seed += 1
    print(f"{seed - first:,} streams, {size:,} bytes, seeds {first} to {seed - 1}: no difference to the reference")
