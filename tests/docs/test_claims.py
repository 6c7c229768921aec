"""What the documentation claims of turns and of security stands beside tests that there are."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
CLAIMS: dict[str, dict[str, list[str]]] = tomllib.loads((Path(__file__).parent / "claims.toml").read_text("utf-8"))
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def flat(text: str) -> str:
    return " ".join(text.split())


def blocks(page: str) -> list[str]:
    """The paragraphs, list items and rows of the page, without its headings, code and heads of tables."""
    found: list[str] = []
    for part in re.split(r"\n\s*\n", FENCE.sub("", (ROOT / page).read_text("utf-8"))):
        if part.lstrip().startswith("|"):
            found += [row for row in part.splitlines() if row.startswith("|")][2:]
        else:
            found += [item for item in re.split(r"^(?:\d+\.|-) ", part, flags=re.MULTILINE) if item.strip()]
    return [flat(block) for block in found if not block.lstrip().startswith("#")]


def names_in(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("page", CLAIMS)
def test_every_claim_stands_on_the_page_and_its_tests_exist(page: str) -> None:
    text = flat((ROOT / page).read_text("utf-8"))
    for claim, tests in CLAIMS[page].items():
        assert claim in text
        assert tests
        for test in tests:
            path, _, name = test.partition("::")
            assert name in names_in(TESTS / path), test


@pytest.mark.parametrize("page", CLAIMS)
def test_every_block_of_the_page_holds_a_claim_that_is_tested(page: str) -> None:
    without = [block for block in blocks(page) if not any(claim in block for claim in CLAIMS[page])]
    assert without == []


def test_every_rule_of_security_names_its_tests() -> None:
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    tables = re.findall(r"^\| rule \| tests \|\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    rows = [row.strip("|\n ").rpartition(" | ") for table in tables for row in table.splitlines()]
    assert len(rows) > 20
    for rule, _, tests in rows:
        assert rule
        assert re.fullmatch(r"`tests/[a-z_/]+\.py`(, `tests/[a-z_/]+\.py`)*", tests), rule
