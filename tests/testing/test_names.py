"""What `chat_sessions.testing` offers, what importing it costs, and where its names were before."""

from __future__ import annotations

import pytest

import chat_sessions.server
from chat_sessions import testing
from chat_sessions.server import faults as old_faults
from tests.test_package import modules_after


@pytest.mark.parametrize("name", testing.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(testing, name) is not None


@pytest.mark.parametrize("name", old_faults.__all__)
def test_every_fault_is_found_under_its_former_name(name: str) -> None:
    assert getattr(old_faults, name) is getattr(testing, name)


def test_the_script_and_what_it_saw_are_found_under_their_former_names() -> None:
    assert chat_sessions.server.Faults is testing.Faults
    assert chat_sessions.server.SeenRequest is testing.SeenRequest
    for module in (chat_sessions.server, testing):
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            _ = module.nothing


def test_the_server_runs_without_the_test_tools() -> None:
    assert not [
        name for name in modules_after("import chat_sessions.local") if name.startswith("chat_sessions.testing")
    ]


def test_the_faults_load_neither_a_server_nor_pytest() -> None:
    loaded = modules_after("from chat_sessions.testing import Cut, Faults")
    assert loaded & {"chat_sessions.server", "chat_sessions.local", "h11", "pytest", "_pytest"} == set()
