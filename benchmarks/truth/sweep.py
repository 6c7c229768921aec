"""A cut at every byte of a turn, through every surface, in sessions that were counted and in others."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from tests.faults.cutting import KINDS, SURFACES, sweep
from tests.faults.playback import record
from tests.faults.speaker import LONG, SHORT, Speaker

from chat_sessions import LocalServer, Session, replay

__all__ = ["cut_everywhere"]

_BROKEN = ("lost", "doubled", "older")
_TURNS = {"short": SHORT, "long": LONG}


def cut_everywhere(length: str, stride: int) -> int:
    """Cut the turn of this length at every byte, or one of so many; return how many answers were wrong."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "note.md").write_text("# Note\n\nIt rose.\n")
        with LocalServer(indexes={"idx-docs": folder}, agent=Speaker(_TURNS[length])) as server:
            recording = record(server)
    whole = replay(Session.model_validate_json(recording[1]).events)[0]
    size = len(recording[0])
    print(f"a turn of {size:,} bytes, cut at {'each of them' if stride == 1 else f'one of {stride}'}")
    print(f"  {'session':12}{'surface':22}{'whole':>9}{'unknown':>9}" + "".join(f"{name:>9}" for name in _BROKEN))
    broken = cuts = 0
    began = time.perf_counter()
    for kind in KINDS:
        for name, surface in SURFACES.items():
            counts = asyncio.run(sweep(recording, whole, surface, kind, range(0, size, stride)))
            cuts += counts.total()
            broken += sum(counts[one] for one in _BROKEN)
            cells = "".join(f"{counts[one]:>9,}" for one in ("whole", "unknown", *_BROKEN))
            print(f"  {kind:12}{name:22}{cells}", flush=True)
    print(f"{cuts:,} cuts, {time.perf_counter() - began:.0f} s: {broken} lost, doubled or older")
    return broken
