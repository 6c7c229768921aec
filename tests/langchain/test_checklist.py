"""Every item of the checklist has a test that names it, and no test names an item that is not there."""

from __future__ import annotations

import ast
import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

HERE = Path(__file__).parent


def _named_items() -> dict[int, list[str]]:
    """The items that tests name, with the files that name them."""
    found: dict[int, list[str]] = {}
    for file in sorted(HERE.rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.checklist":
                for argument in node.args:
                    assert isinstance(argument, ast.Constant)
                    assert isinstance(argument.value, int), f"{file.name}: an item is named by its number"
                    found.setdefault(argument.value, []).append(file.name)
    return found


def test_each_item_is_named_by_a_test_and_each_named_item_exists() -> None:
    items = {int(number) for number in tomllib.loads((HERE / "checklist.toml").read_text(encoding="utf-8"))}
    assert items == set(range(1, 61))
    assert set(_named_items()) == items


@pytest.mark.checklist(58)
def test_the_langchain_core_of_this_run_is_in_the_range_that_the_package_declares() -> None:
    """The whole suite is run on the lowest and on the newest version of this range."""
    declared = [Requirement(each) for each in requires("chat-sessions") or []]
    core = next(each for each in declared if each.name == "langchain-core")
    assert core.specifier.contains(version("langchain-core"))
    assert core.specifier.contains("1.7.0")
    assert not core.specifier.contains("2.0.0")
