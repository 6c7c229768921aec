"""Random turns, told live in one way, stored in another and cut anywhere: none may differ. See docs/segments.md."""

from __future__ import annotations

import sys
import time

from tests.core.test_tellings import check

__all__ = ["compare"]

_SHOWN = 5
_TELLS_AFTER = 60.0


def compare(cases: int, seed: int) -> int:
    """Compare the tellings of that many turns, from the one with this number on; return how many differ."""
    differ = 0
    began = said = time.perf_counter()
    for number in range(seed, seed + cases):
        try:
            check(number)
        except AssertionError as error:
            differ += 1
            if differ <= _SHOWN:
                print(f"case {number}: {error}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        if (now := time.perf_counter()) - said > _TELLS_AFTER:
            said = now
            print(f"  {number + 1 - seed:,} turns, {differ} different", flush=True)
    seconds = time.perf_counter() - began
    print(
        f"{cases:,} random turns (cases {seed} to {seed + cases - 1}), {seconds:.0f} s: {differ} different", flush=True
    )
    return differ
