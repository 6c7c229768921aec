"""What of the user's messages a session has been sent, decided from its turns."""

from __future__ import annotations

import pytest

from chat_sessions.core.events import Stop, Text
from chat_sessions.core.models import Usage
from chat_sessions.core.turn import Turn
from chat_sessions.langchain.input.delivery import Sent, answered, sent
from chat_sessions.langchain.input.prompt import Exchange

ENDED = Stop(usage=Usage(), is_error=False)


def _turns(*told: tuple[str, str]) -> list[Turn]:
    return [Turn(prompt, (Text(content=answer), ENDED)) for prompt, answer in told]


@pytest.mark.parametrize(
    ("messages", "told", "known", "expected"),
    [
        (["b"], [("a", "A")], [("a", "A")], Sent()),
        (["b"], [("a", "A"), ("b", "B")], [("a", "A")], Sent(1, 1)),
        (["b", "c"], [("a", "A"), ("b", "B")], [("a", "A")], Sent(1, 1)),
        (["b", "c"], [("a", "A"), ("b\n\nc", "B")], [("a", "A")], Sent(2, 1)),
        (["b", "c"], [("a", "A"), ("b", "B"), ("c", "C")], [("a", "A")], Sent(2, 2)),
        # Somebody else's turn came between.
        (["b"], [("a", "A"), ("b", "B"), ("x", "X")], [("a", "A")], Sent()),
        # A refused message, and the next with the same words.
        (["b", "b"], [("a", "A"), ("b", "B")], [("a", "A")], Sent(1, 1)),
        # What was answered is not what was sent.
        (["a"], [("a", "A")], [("a", "A")], Sent()),
        # Agents repeat themselves, and so do users.
        (["b"], [("a", "no"), ("b", "no")], [("a", "no")], Sent(1, 1)),
        (["a"], [("a", "no"), ("a", "no")], [("a", "no")], Sent(1, 1)),
        (["a"], [("a", "no"), ("a", "no")], [("a", "no"), ("a", "no")], Sent()),
        # A middleware rewrote what the user said.
        (["b"], [("a", "A"), ("b", "B")], [("a, redacted", "A")], Sent(1, 1)),
        # Services trim.
        ([" b\n"], [("a", "A"), ("b", "B")], [("a", "A ")], Sent(1, 1)),
        # Services normalise, and escape for HTML.
        (["e\u0301 < b"], [("a", "A"), ("\u00e9 &lt; b", "B")], [("a", "A")], Sent(1, 1)),
        # Nothing of the session is known to the reader.
        (["b"], [("b", "B")], [], Sent(1, 0)),
    ],
)
def test_the_turns_of_the_session_say_what_was_sent(
    messages: list[str], told: list[tuple[str, str]], known: list[tuple[str, str]], expected: Sent
) -> None:
    exchanges = [Exchange(*each) for each in known]
    assert sent(messages, _turns(*told), exchanges=exchanges, tried_after=[None]) == expected


def test_without_the_last_answer_in_the_session_only_a_message_that_was_sent_is_looked_for() -> None:
    turns, known = _turns(("b", "B")), [Exchange("a", "A")]
    assert sent(["b"], turns, exchanges=known) == Sent()
    assert sent(["b"], turns, exchanges=known, tried_after=[None]) == Sent(1, 0)


def test_a_message_before_the_last_is_also_found_among_other_words() -> None:
    turns = _turns(('Context: "a b"', ""))
    assert sent(["a\nb", "c"], turns, exchanges=[]) == Sent(1, 0)
    assert sent(["a b"], turns, exchanges=[]) == Sent()
    assert sent(["text", "c"], turns, exchanges=[]) == Sent()
    assert sent(["a b", "c"], turns, exchanges=[], unsent=0) == Sent()
    assert sent(["a b", "c"], turns, exchanges=[], images=[("https://example.com/a.png",), ()]) == Sent()


@pytest.mark.parametrize(("later", "position"), [(0, 2), (1, 1), (2, 0), (3, 0)])
def test_the_last_turns_of_a_message_that_was_asked_again_are_told_apart_by_their_order(
    later: int, position: int
) -> None:
    turns = _turns(("b", "A"), ("b", "B"), ("b", "C"))
    assert sent(["b"], turns, exchanges=[], tried_after=[None], later=later) == Sent(1, position)


def test_the_system_text_may_stand_before_the_first_prompt() -> None:
    turns = _turns(("be brief\n\na", "A"))
    assert sent(["a"], turns, exchanges=[], system="be brief", tried_after=[0]) == Sent(1, 0)


def test_a_hand_off_finds_the_turn_of_its_answer() -> None:
    turns = _turns(("a", "A"), ("b", "B"))
    assert answered(1, turns, [Exchange("a", "A"), Exchange("b", "B")]) == Sent(1, 1)
    assert answered(1, turns, [Exchange("c", "C")]) == Sent()


@pytest.mark.parametrize(
    ("messages", "told", "before", "expected"),
    [
        # An older turn of the same words is not taken for this one.
        (["go on"], [("go on", "A")], [1], Sent()),
        (["go on"], [("go on", "A"), ("go on", "B")], [1], Sent(1, 1)),
        # Somebody else's turns came before and after it.
        (["b"], [("a", "A"), ("x", "X"), ("b", "B"), ("y", "Y")], [1], Sent(1, 2)),
        (["b", "c"], [("a", "A"), ("b", "B"), ("c", "C")], [1, 2], Sent(2, 2)),
        (["b", "c"], [("a", "A"), ("b", "B")], [1, None], Sent(1, 1)),
    ],
)
def test_what_was_there_before_a_message_was_sent_is_not_its_turn(
    messages: list[str], told: list[tuple[str, str]], before: list[int | None], expected: Sent
) -> None:
    assert sent(messages, _turns(*told), exchanges=[], tried_after=before) == expected
