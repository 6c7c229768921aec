"""`--llm`: a model of the user's own answers from the files."""

from __future__ import annotations

import pytest

from tests.cli.conftest import DOCUMENTS, Commands
from tests.server.agents.openai_endpoint import DONE, chunk, endpoint

MARGIN = "What was the operating margin in Q3 2025?"


def test_ask_lets_the_model_answer_and_cites_the_file(command: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with endpoint(chunk("It was 14.3 % [1]."), chunk(finish="stop"), DONE) as at:
        result = command("ask", MARGIN, "-i", str(DOCUMENTS), "--llm", "small", "--llm-base-url", at.url)
    assert result.code == 0, result
    assert result.out.startswith("It was 14.3 % [annual-report-2025.pdf, page 3].\n")
    assert at.requests[0]["model"] == "small"


def test_the_endpoint_and_its_key_can_be_in_the_environment(command: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    with endpoint(chunk("It was 14.3 % [1]."), chunk(finish="stop"), DONE) as at:
        monkeypatch.setenv("OPENAI_BASE_URL", at.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
        result = command("chat", "-i", str(DOCUMENTS), "--llm", "small", stdin=f"{MARGIN}\n")
    assert "It was 14.3 %" in result.out
    # The answer, and the title if there was time for it.
    assert set(at.keys) == {"Bearer sk-of-the-environment"}


def test_a_model_that_breaks_off_is_an_error_with_what_came(command: Commands) -> None:
    with endpoint(chunk("It was "), DONE) as at:
        result = command("ask", MARGIN, "-i", str(DOCUMENTS), "--llm", "small", "--llm-base-url", at.url)
    assert result.code != 0
    assert "It was" in result.out
    assert "ended its answer before it was complete" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ask", "Hi", "-i", str(DOCUMENTS), "--llm-base-url", "http://127.0.0.1:1/v1"], "--llm-base-url needs"),
        (["ask", "Hi", "-i", str(DOCUMENTS), "--llm-key", "sk-x"], "--llm-key needs the model's name: add --llm"),
        (["ask", "Hi", "-i", str(DOCUMENTS), "--llm", "small"], "the model small has no endpoint and no key"),
        (["serve", str(DOCUMENTS), "--llm", "small"], "the model small has no endpoint and no key"),
        (["demo", str(DOCUMENTS), "-q", "Hi", "--llm", "small"], "the model small has no endpoint and no key"),
    ],
)
def test_a_model_without_a_place_is_refused_with_what_to_do(
    command: Commands, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    result = command(*arguments)
    assert result.code == 2
    assert said in result.err
