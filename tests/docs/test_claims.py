"""What the README and the page on turns claim is held by tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.claims import README, TURNS

ROOT = Path(__file__).parents[2]
PAGES = {"README.md": README, "docs/turns.md": TURNS}
CLAIMS = [(page, quoted, test) for page, claims in PAGES.items() for quoted, test in claims]


def plain(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(("page", "quoted", "test"), CLAIMS, ids=[quoted for _, quoted, _ in CLAIMS])
def test_the_page_says_it_and_the_test_is_there(page: str, quoted: str, test: str) -> None:
    assert plain(quoted) in plain((ROOT / page).read_text())
    file, _, name = test.partition("::")
    assert (ROOT / file).exists(), file
    assert name == "*" or re.search(rf"def {name}\(", (ROOT / file).read_text()), test


def test_every_row_rule_and_promise_of_the_pages_has_a_test() -> None:
    turns = (ROOT / "docs" / "turns.md").read_text()
    rows = [plain(line) for line in turns.splitlines() if line.startswith("| ") and not line.startswith("| what")]
    rules = [plain(line) for line in turns.splitlines() if re.match(r"\d\. ", line)]
    promises = re.findall(r"^- \*\*(.*?)\*\*", (ROOT / "README.md").read_text(), re.MULTILINE)
    held = [plain(quoted) for _, quoted, _ in CLAIMS]
    assert (len(rows), len(rules), len(promises)) == (14, 4, 4)
    left_out = [text for text in rows + rules if not any(quoted in text for quoted in held)]
    left_out += [text for text in promises if not any(quoted in text or text.rstrip(".") in quoted for quoted in held)]
    assert left_out == []
