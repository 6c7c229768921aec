"""The files of `examples/recipes`, as a reader runs them."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

__all__ = ["FOLDER", "load"]

FOLDER = Path(__file__).parents[2] / "examples" / "recipes"


def load(name: str) -> dict[str, Any]:
    """Run the file as a module, and return what it defines."""
    return runpy.run_path(str(FOLDER / name))
