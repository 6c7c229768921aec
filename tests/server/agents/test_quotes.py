"""How much of a passage is quoted, and where a sign says that something is left out."""

from __future__ import annotations

from chat_sessions.server.agents.quotes import quote


class TestQuotes:
    def test_rows_that_fit_are_shown_with_their_header_and_a_sign_for_the_others(self) -> None:
        rows = "\n".join(f"| A-{number} | {number} |" for number in range(1, 31))
        text = quote(f"| Article | Stock |\n|---|---|\n{rows}", {"a15": 3.0}, ["eng"])
        assert text == "| Article | Stock |\n|---|---|\n| … | … |\n| A-15 | 15 |\n| … | … |"

    def test_a_sign_for_rows_that_another_passage_has_stays_where_it_is(self) -> None:
        table = "| Article | Stock |\n|---|---|\n| … | … |\n| A-1 | 4 |\n| A-2 | 9 |\n| … | … |"
        assert quote(table, {"stock": 1.0}, ["eng"]) == table
        assert quote(table, {"a2": 1.0}, ["eng"]) == table
        rows = "".join(f"| B-{number} | {number} |\n" for number in range(20))
        text = quote(table.replace("| A-1 | 4 |\n", rows), {"a2": 1.0}, ["eng"])
        assert text == table.replace("| A-1 | 4 |\n", "")

    def test_a_table_of_which_no_row_stands_out_is_shown_whole(self) -> None:
        table = "| Article | Stock |\n|---|---|\n" + "\n".join(f"| A-{number} | {number} |" for number in range(1, 16))
        assert quote(table, {"stock": 1.0}, ["eng"]) == table

    def test_a_caption_that_fits_is_shown_with_its_table(self) -> None:
        table = "| Article | Stock |\n|---|---|\n| Rope | 4 |\n| Sail | 9 |"
        text = quote(f"Prices are in Euro.\n\nTable 3. Goods held in winter\n\n{table}", {"winter": 1.0}, ["eng"])
        assert text == f"…\n\nTable 3. Goods held in winter\n\n{table}"

    def test_a_line_is_shown_with_what_follows_it(self) -> None:
        parts = ("Maintenance contract", "The fee is 2,340 euros a year.", "Parts are not included. " * 30)
        assert quote("\n\n".join(parts), {"mainten": 1.0}, ["eng"]) == f"{parts[0]}\n\n{parts[1]}\n\n…"

    def test_paragraphs_left_out_between_two_that_fit_are_shown_by_a_sign(self) -> None:
        middle = "Nothing of note happened here. " * 20
        text = quote(f"The ferry is old.\n\n{middle}\n\nA ferry costs much.", {"ferri": 2.0}, ["eng"])
        assert text == "The ferry is old.\n\n…\n\nA ferry costs much."

    def test_a_long_text_is_cut_between_sentences_with_a_sign_on_each_side(self) -> None:
        before = "The weather was fine all winter. " * 20
        text = quote(f"{before}The ferry carries 40 cars. {before}", {"ferri": 2.0}, ["eng"])
        assert "The ferry carries 40 cars." in text
        assert text.startswith("… ")
        assert text.endswith(" …")
        assert len(text) < 520

    def test_a_few_long_rows_are_shown_only_as_far_as_they_fit(self) -> None:
        rows = [f"| T-{number} | {'The pump is in order. ' * 30}|" for number in range(3)]
        text = quote("\n".join(["| Ticket | Text |", "|---|---|", *rows]), {"t1": 1.0}, ["eng"])
        assert text.split("\n") == ["| Ticket | Text |", "|---|---|", "| … | … |", rows[1], "| … | … |"]

    def test_a_second_block_is_shown_if_it_has_a_word_of_the_question_that_the_first_lacks(self) -> None:
        lines = ["Invoice 4713", "Lamps of all kinds, mounted on the pier.", "Sealed.", "Total due: 1,204.00 EUR"]
        weights = {"invoic": 1.5, "4713": 2.0, "due": 1.2}
        assert quote("\n\n".join(lines), weights, ["eng"]) == f"{lines[0]}\n\n…\n\n{lines[3]}"
