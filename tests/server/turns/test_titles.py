from __future__ import annotations

import pytest

from chat_sessions.server.turns.titles import title_of


@pytest.mark.parametrize(
    ("message", "title"),
    [
        ("what were the main findings in Q3?", "What were the main findings in Q3?"),
        ("Summarise page 3. Then compare it with page 4.", "Summarise page 3"),
        ("  two\n lines\tof   text ", "Two lines of text"),
        ("see v1.2 of the file", "See v1.2 of the file"),
        ("", "New chat"),
        (" \n\u200b ", "New chat"),
        ("...", "New chat"),
        ("\x1b[31mred\x07 alert", "[31mred alert"),
        ("élan", "Élan"),
        ("\u8d28\u91cf\u5982\u4f55\uff1f \u8fd8\u6709\u5462", "\u8d28\u91cf\u5982\u4f55\uff1f"),
    ],
)
def test_a_title_is_the_first_sentence_in_one_line(message: str, title: str) -> None:
    assert title_of(message) == title


@pytest.mark.parametrize("message", ["word " * 40, "x" * 500, "a" * 59 + " bc def", "one two, " * 30])
def test_a_long_sentence_is_cut_to_sixty_characters(message: str) -> None:
    title = title_of(message)
    assert len(title) <= 60
    assert title.endswith("…")
    assert not title.removesuffix("…").endswith((" ", ","))


def test_a_cut_falls_between_words() -> None:
    message = "please compare the results of the third quarter with those of the fourth"
    assert title_of(message) == "Please compare the results of the third quarter with those…"


def test_a_sentence_of_sixty_characters_stays_whole() -> None:
    assert title_of("A" * 60) == "A" * 60
