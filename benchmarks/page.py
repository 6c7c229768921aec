"""The tables in the documentation, which only a whole run writes."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["ASSETS", "PAGE", "machine", "with_tables"]

_ROOT = Path(__file__).parents[1]
PAGE = _ROOT / "docs" / "performance.md"
ASSETS = _ROOT / "docs" / "assets"
# Each version of Python has its own place on the page.
_PLACE = "<!-- the tables of `python -m benchmarks --write` on Python {} {} -->"
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


def with_tables(page: str, tables: str, python: str = f"{sys.version_info.major}.{sys.version_info.minor}") -> str:
    """The page with these tables in place of those it has for this version of Python.

    Raises `ValueError` for a page without a place for them.
    """
    begin, end = _PLACE.format(python, "begin"), _PLACE.format(python, "end")
    before, found, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        raise ValueError(f"the page has no place for the tables: it needs the lines {begin} and {end}")
    return f"{before}{begin}\n\n```text\n{tables}\n```\n\n{end}{after}"
