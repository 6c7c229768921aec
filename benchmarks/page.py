"""The tables in the documentation, which only a whole run writes."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["ASSETS", "PAGE", "machine", "with_tables"]

_ROOT = Path(__file__).parents[1]
PAGE = _ROOT / "docs" / "performance.md"
ASSETS = _ROOT / "docs" / "assets"
_BEGIN = "<!-- the tables of `python -m benchmarks --write` begin -->"
_END = "<!-- the tables of `python -m benchmarks --write` end -->"
_PACKAGES = (
    "httpx",
    "httpx-sse",
    "pydantic",
    "langchain-core",
    "langchain-openai",
    "langgraph",
    "llama-index-core",
    "llama-index-llms-openai",
    "llama-cloud",
    "openai",
)


def machine() -> str:
    """What the figures were taken on: the interpreter, the cores, their load by then, and the packages."""
    found: list[str] = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    load = f", load {os.getloadavg()[1]:.1f}" if hasattr(os, "getloadavg") else ""
    where = f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} {platform.machine()}"
    return f"{where}, {os.cpu_count()} cores{load}\n{', '.join(found)}"


def with_tables(page: str, tables: str) -> str:
    """The page with these tables in the place of those it has. Raises `ValueError` for a page without a place."""
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"the page has no place for the tables: it needs the lines {_BEGIN} and {_END}")
    return f"{before}{_BEGIN}\n\n```text\n{tables}\n```\n\n{_END}{after}"
