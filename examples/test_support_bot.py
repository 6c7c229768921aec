"""How an application is tested against a service that breaks: run it with `pytest test_support_bot.py`.

The fixture `chat_sessions_server` comes with the package.
"""

from __future__ import annotations

from chat_sessions import ChatSession, ConflictError, TurnError
from chat_sessions.testing import Cut, MakeServer, Refuse


def reply(session: ChatSession, question: str) -> str:
    """Answer a user: the application under test."""
    try:
        return session.ask(question).text
    except ConflictError:
        return "One question at a time, please."
    except TurnError as error:
        return f"{error.turn.text}\n\n(This answer is not complete.)"


def test_an_answer_that_is_cut_on_the_way_is_whole_all_the_same(chat_sessions_server: MakeServer) -> None:
    server = chat_sessions_server(faults=[Cut(at_byte=400, finish_first=True)])
    assert "84.2 million" in reply(server.client().session(), "What was revenue in 2025?")
    assert len(server.faults.prompts) == 1


def test_a_second_question_at_once_is_refused_politely(chat_sessions_server: MakeServer) -> None:
    server = chat_sessions_server(faults=[Refuse(409)])
    assert reply(server.client().session(), "What was revenue in 2025?") == "One question at a time, please."
