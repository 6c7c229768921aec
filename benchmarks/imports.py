"""Seconds of CPU that an import takes in a fresh interpreter, beside the framework's own."""

from __future__ import annotations

import random
import statistics
import subprocess
import sys

from benchmarks.row import Row, at_most

__all__ = ["rows"]

_LANGCHAIN = "langchain_core.language_models.chat_models"
_LLAMA_INDEX = "llama_index.core"
_MODULES = ("chat_sessions", "chat_sessions.langchain", "chat_sessions.llama_index", _LANGCHAIN, _LLAMA_INDEX)


def _seconds(module: str) -> float:
    code = f"import time; began = time.process_time(); import {module}; print(time.process_time() - began)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)


def rows(*, repeats: int = 3) -> list[Row]:
    """A row for each of the package's three doors."""
    took: dict[str, list[float]] = {module: [] for module in _MODULES}
    shuffle = random.Random(2)
    for turn in range(repeats + 1):
        for module in shuffle.sample(_MODULES, len(_MODULES)):
            seconds = _seconds(module)
            # The first reads the files from the disk, and compiles what is not compiled yet.
            if turn:
                took[module].append(seconds)
    medians = {module: statistics.median(samples) for module, samples in took.items()}
    found = [at_most("imports", "import chat_sessions", "≤ 0.25 s", medians["chat_sessions"], 0.25, "s")]
    for module, base in (("chat_sessions.langchain", _LANGCHAIN), ("chat_sessions.llama_index", _LLAMA_INDEX)):
        surface = f"import {module}"
        limit = medians[base] + 0.15
        found.append(at_most("imports", surface, f"≤ {base.partition('.')[0]} + 0.15 s", medians[module], limit, "s"))
    return found
