"""Servers that several threads make at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from chat_sessions.server import create_app


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
def test_threads_that_make_servers_at_once_get_the_same_api(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n\nWords.\n")
    together = Barrier(4)

    def document(_: int) -> object:
        together.wait()
        return [create_app(indexes={"idx-docs": tmp_path}).openapi() for _ in range(3)]

    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(document, range(4))
    assert all(other == first for other in others)
