"""Clients and servers for tests about keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.security.key_holders import MAKERS, Maker
from tests.wire_server import WireServer


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Maker:
    """Makes a client of one backend or the other, with every kind of secret in it."""
    return MAKERS[request.param]


@pytest.fixture
def wire() -> Iterator[WireServer]:
    with WireServer() as server:
        yield server
