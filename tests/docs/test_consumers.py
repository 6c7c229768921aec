"""The page of other programs names the versions that `make consumers` installs."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONSUMERS = ROOT / "tests" / "consumers"
LINES = [line.partition("==") for file in CONSUMERS.glob("*/*.txt") for line in file.read_text().split()]
# The page calls some by their other name.
NAMES = {"phoenix": "arize-phoenix"}


def _installed() -> dict[str, str]:
    python = {name.partition("[")[0]: version for name, _, version in LINES}
    return {**python, **json.loads((CONSUMERS / "graphs" / "javascript" / "package.json").read_text())["dependencies"]}


def test_every_program_of_the_page_is_installed_by_the_lane_in_the_version_of_the_page() -> None:
    installed = _installed()
    page = (ROOT / "docs" / "consumers.md").read_text()
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    for program, versions in rows:
        text = program.lower().replace("`", "")
        in_brackets = re.search(r"\((.*)\)", text)
        names = (in_brackets[1] if in_brackets else text.partition(", as ")[0]).strip().split(", ")
        assert [installed[NAMES.get(name, name)] for name in names] == versions.strip().split(", "), program
    (below,) = (line for line in page.splitlines() if line.startswith("All were run on"))
    for name, version in re.findall(r"([a-z-]+) (\d[\d.]*\d)", below):
        assert installed[name] == version
