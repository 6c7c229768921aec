"""A terminal for the commands whose behaviour depends on one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.conftest import Program
from tests.cli.pseudo_terminal import PseudoTerminal


@pytest.fixture
def at_a_terminal(program: Program) -> Iterator[PseudoTerminal]:
    terminal = PseudoTerminal(program)
    yield terminal
    terminal.close()
