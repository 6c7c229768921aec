"""Which passages are found first: those that bm25s itself would put first, whatever is left out or alike."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from chat_sessions.server.documents.indexes import Index, open_index
from chat_sessions.server.documents.ranking import Ranking, rarity

WORDS = ("harbour", "engine", "invoice", "station", "sensor", "contract", "payment", "ferry", "deposit", "warranty")
FILES = 120


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """More passages than a block of scores, some words in most of them and some in few."""
    draw = random.Random(5)
    folder = tmp_path_factory.mktemp("many")
    for number in range(FILES):
        sections = [" ".join(draw.choices([*WORDS, *map(str, range(40))], k=draw.randrange(3, 60))) for _ in range(5)]
        text = "".join(f"## Part {number}-{part}\n\n{said}\n\n" for part, said in enumerate(sections))
        (folder / f"{number:03}.md").write_text(text)
    return open_index("idx-many", folder, index_store=":memory:")


def ranking_of(index: Index) -> Ranking:
    return index._content.ranking


@pytest.mark.parametrize("limit", [1, 5, 40, 10_000])
@pytest.mark.parametrize("asked", [["ferri"], ["ferri", "7"], ["ferri", "engin", "deposit", "3"], ["nowhere"]])
def test_the_passages_found_first_are_those_of_bm25s(many: Index, asked: list[str], limit: int) -> None:
    base = ranking_of(many).base
    assert base is not None
    assert base.size > 512
    known = [term for term in asked if base.frequency(term)]
    whole = base._scores.get_scores(known) if known else np.zeros(base.size)
    best = sorted(whole[whole > 0], reverse=True)[:limit]
    weights = {term: rarity(base.frequency(term), base.size) for term in asked}
    found = ranking_of(many).best(weights, limit)
    # Its order is by rounded scores, and then by name.
    assert sorted((one.score for one in found), reverse=True) == pytest.approx(best, rel=1e-4)


def test_of_passages_that_fit_alike_the_first_are_found(tmp_path: Path) -> None:
    for number in range(400):
        (tmp_path / f"{number:03}.md").write_text("The ferry carries cars.")
    found = open_index("idx-alike", tmp_path, index_store=":memory:").search("ferry", limit=3)
    assert [hit.document.name for hit in found] == ["000.md", "001.md", "002.md"]


def test_what_has_gone_is_not_found_by_scores_that_were_spread_before(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}.md").write_text(f"The ferry number {number} carries cars.")
    index = open_index("idx-gone", tmp_path, index_store=":memory:")
    assert index.search("ferry", limit=1)[0].document.name == "00.md"
    (tmp_path / "00.md").unlink()
    index.refresh()
    assert index.search("ferry", limit=1)[0].document.name == "01.md"
    assert len(index.search("ferry", limit=50)) == 29
