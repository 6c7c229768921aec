"""What a prompt is searched for: its own words, and those of the prompt before a follow-up."""

from __future__ import annotations

from pathlib import Path

import pytest

from chat_sessions.server.documents.indexes import Index, open_index

TEXTS = {
    "budget.csv": "Item,Euro\nElectricity,1200\nBoat repairs,3000\nInsurance,800\nRent,2400\n",
    "minutes.md": "# Protokoll\n\nDie Kündigungsfrist für das Bootshaus ist lang. Der Mitgliedsbeitrag steigt.\n",
    "shop.md": "# Shop\n\nThe shop opens at 7 on weekdays. Walnuts are delivered on Friday.\n",
    "training.md": "# Training\n\nTraining on the river is on Tuesday.\n\nThe notice period is six weeks.\n",
}


@pytest.fixture(scope="module")
def club(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("club")
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    return open_index("idx-club", folder, index_store=":memory:")


def names(index: Index, prompt: str, earlier: str = "") -> list[str]:
    return [hit.document.name for hit in index.search(prompt, earlier=earlier)]


def test_a_word_is_not_found_in_one_that_only_begins_like_it(club: Index) -> None:
    assert names(club, "elected") == []
    assert club.query("Who was elected?").missing == ("elected",)


@pytest.mark.parametrize("prompt", ["Beitrag", "Beiträge", "Wie hoch ist der Beitrag?"])
def test_a_word_is_found_in_a_compound(club: Index, prompt: str) -> None:
    assert names(club, prompt)[0] == "minutes.md"


def test_a_long_word_is_found_by_itself_and_then_in_compounds_and_longer_forms(tmp_path: Path) -> None:
    (tmp_path / "lease.md").write_text(
        "Die Mietkündigungsfrist beträgt drei Monate. Der Garten wird gemeinsam genutzt."
    )
    (tmp_path / "club.md").write_text("Die Kündigungsfristen betragen sechs Wochen. Kassenwartin ist Birte Lüders.")
    (tmp_path / "bus.md").write_text("Der Bus fährt um sieben Uhr ab und hält am Hafen.")
    index = open_index("idx-both", tmp_path, index_store=":memory:")
    assert names(index, "Kündigungsfrist") == ["club.md", "lease.md"]
    assert names(index, "Mietkündigungsfristen") == ["lease.md"]
    assert names(index, "Kassenwart") == ["club.md"]
    assert index.query("Kassenwart").missing == ()


def test_a_file_with_few_words_is_found_in_the_language_of_the_question(tmp_path: Path) -> None:
    rows = "".join(f"Zimmer {number},{number * 7}\n" for number in range(1, 61))
    (tmp_path / "plan.csv").write_text(f"Raum,Platz\n{rows}")
    index = open_index("idx-plan", tmp_path, index_store=":memory:")
    assert names(index, "Welche Räume gibt es?") == ["plan.csv"]


@pytest.mark.parametrize("prompt", ["And on the river?", "Und wann ist das?", "And the training?"])
def test_a_follow_up_is_searched_with_the_words_of_the_prompt_before_it(club: Index, prompt: str) -> None:
    assert "shop.md" in names(club, prompt, "When are walnuts delivered?")


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        ("When does training start on the river on Tuesday?", "training.md"),
        ("Wie lange ist die Kündigungsfrist für das Bootshaus im Winter?", "minutes.md"),
    ],
)
def test_a_question_that_stands_by_itself_is_searched_alone(club: Index, prompt: str, wanted: str) -> None:
    earlier = "How much is electricity, insurance and rent?"
    assert club.query(prompt, earlier).weights == club.query(prompt).weights
    assert names(club, prompt, earlier)[0] == wanted


def test_the_own_words_of_a_follow_up_come_first(club: Index) -> None:
    assert names(club, "And the walnuts?", "What is the notice period?")[0] == "shop.md"


@pytest.mark.parametrize(
    ("prompt", "missing"),
    [
        ("Quel est le prix d'une clé perdue ?", ("prix", "clé", "perdue")),
        ("¿Cuánto cuesta la llave perdida?", ("cuesta", "llave", "perdida")),
        ("Plan B or vitamin C?", ("Plan", "vitamin")),
    ],
)
def test_words_that_say_nothing_are_not_missed_in_any_language(
    club: Index, prompt: str, missing: tuple[str, ...]
) -> None:
    assert set(missing) <= set(club.query(prompt).missing) <= {*missing, "Quel", "Cuánto", "B", "C"}


@pytest.mark.parametrize("ending", ["csv", "html", "md", "txt"])
def test_a_file_that_is_named_with_its_ending_comes_before_others_of_its_name(tmp_path: Path, ending: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "offer.md").write_text("# Offer\n\nThe price of the offer is 900 EUR.\n")
    (tmp_path / "in" / "offer.txt").write_text(
        "Applies to all customers of the region. " * 9 + "The price is 950 EUR.\n"
    )
    (tmp_path / "offer.html").write_text("<p>Delivery takes three weeks.</p>")
    (tmp_path / "offer.csv").write_text("item,price\noffer,980\n")
    index = open_index("idx-offers", tmp_path, index_store=":memory:")
    for prompt in (f"What is the price in offer.{ending}?", f"What is in offer.{ending}?", f"offer.{ending}"):
        assert names(index, prompt)[0].rpartition("/")[2] == f"offer.{ending}"
        assert f"offer.{ending}" not in index.query(prompt).missing
