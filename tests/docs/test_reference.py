"""The reference has everything that the packages export, and nothing else."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
NAME = re.compile(r"^::: (\S+)$", re.MULTILINE)
PACKAGES = (
    "chat_sessions",
    "chat_sessions.openhands",
    "chat_sessions.llama_index",
    "chat_sessions.langchain",
    "chat_sessions.server",
    "chat_sessions.web",
    "chat_sessions.testing",
)
# One name in two places is documented in the first.
OTHER_NAMES = {
    "chat_sessions.openhands.AsyncOpenHandsChat": "chat_sessions.AsyncOpenHandsChat",
    "chat_sessions.openhands.OpenHandsChat": "chat_sessions.OpenHandsChat",
    "chat_sessions.server.Faults": "chat_sessions.testing.Faults",
    "chat_sessions.server.SeenRequest": "chat_sessions.testing.SeenRequest",
    "chat_sessions.server.faults": "chat_sessions.testing.faults",
}
PAGES = [*(DOCS / "reference").glob("*.md"), DOCS / "errors.md"]


def value_of(name: str) -> object:
    package, _, attribute = name.rpartition(".")
    return getattr(import_module(package), attribute)


def test_every_public_name_has_one_entry_and_nothing_else_has() -> None:
    documented = [name for page in PAGES for name in NAME.findall(page.read_text())]
    assert len(documented) == len(set(documented))
    public = {f"{package}.{name}" for package in PACKAGES for name in import_module(package).__all__}
    # The introduction of the page on errors, without its members.
    assert set(documented) - public == {"chat_sessions.core.errors"}
    assert public - set(documented) == set(OTHER_NAMES)


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_a_name_without_an_entry_is_another_name_of_one_that_has(name: str) -> None:
    value, other = value_of(name), value_of(OTHER_NAMES[name])
    if inspect.ismodule(value):
        # Once it was imported by its former name, it is a module of its own.
        assert vars(value).items() >= {key: getattr(other, key) for key in vars(other)["__all__"]}.items()
    else:
        assert value is other


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_has_an_entry_says_what_it_is(page: Path) -> None:
    for name in NAME.findall(page.read_text()):
        value = value_of(name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, name
