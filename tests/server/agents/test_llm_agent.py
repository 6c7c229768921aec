"""The agent with a model: what the model sees, what becomes of its answer, and how it fails."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path

import pytest

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.events import Event, Stop, Text, TextDelta, Thinking, ThinkingDelta, UserInput
from chat_sessions.server.agents.citations import Citations
from chat_sessions.server.agents.llm_agent import LlmAgent, ModelFailed
from chat_sessions.server.documents.indexes import Index, open_index
from chat_sessions.server.turns.agent import AgentTurn
from tests.server.agents.openai_endpoint import DONE, Endpoint, chunk, endpoint, tokens

KEY = "sk-secret-of-the-endpoint"


@pytest.fixture
def boats(tmp_path: Path) -> Index:
    (tmp_path / "boats.md").write_text("# Ferries\n\nThe ferry carries 40 cars.\n\n# Trains\n\nTrains carry people.\n")
    return open_index("idx-boats", tmp_path)


async def events_of(
    at: Endpoint, index: Index, prompt: str = "How many cars does the ferry carry?", history: Sequence[Event] = ()
) -> list[Event]:
    agent = LlmAgent.at("small", at.url, KEY)
    return [event async for event in agent.run(AgentTurn("ses-1", prompt, [index], history))]


class TestAnswers:
    async def test_the_model_gets_the_passages_found_and_its_answer_is_events_as_it_comes(self, boats: Index) -> None:
        script = (
            chunk("", role="assistant"),
            chunk(reasoning_content="The first one."),
            chunk("It carries "),
            chunk("40 cars ["),
            chunk("1]."),
            chunk(finish="stop"),
            tokens(120, 9),
            DONE,
        )
        with endpoint(*script) as at:
            events = await events_of(at, boats)
        kinds = [event.type for event in events if not isinstance(event, TextDelta | ThinkingDelta)]
        assert kinds == ["thinking", "tool_call", "tool_result", "text", "stop"]
        (text,) = (event.content for event in events if isinstance(event, Text))
        assert text == "It carries 40 cars [boats.md, Ferries]."
        assert "".join(event.content for event in events if isinstance(event, TextDelta)) == text
        assert [event.content for event in events if isinstance(event, ThinkingDelta)] == ["The first one."]
        stop = events[-1]
        assert isinstance(stop, Stop)
        assert (stop.usage.input_tokens, stop.usage.output_tokens, stop.is_error) == (120, 9, False)
        (request,) = at.requests
        assert request["model"] == "small"
        assert "[1] boats.md, Ferries\n# Ferries\n\nThe ferry carries 40 cars." in request["messages"][-1]["content"]
        assert at.keys == [f"Bearer {KEY}"]

    async def test_the_model_sees_the_turns_before(self, boats: Index) -> None:
        history: list[Event] = [UserInput(content="Hello?"), Thinking(content="Hm."), Text(content="Yes?")]
        with endpoint(chunk("40."), chunk(finish="stop"), DONE) as at:
            await events_of(at, boats, history=history)
        messages = [(message["role"], message["content"]) for message in at.requests[0]["messages"]]
        assert [role for role, _ in messages] == ["system", "user", "assistant", "user"]
        assert messages[1:3] == [("user", "Hello?"), ("assistant", "Yes?")]

    async def test_an_answer_that_was_cut_for_its_length_says_so(self, boats: Index) -> None:
        with endpoint(chunk("It carries"), chunk(finish="length"), DONE) as at:
            events = await events_of(at, boats)
        assert [event.content for event in events if isinstance(event, Text)] == ["It carries …"]


class TestFailures:
    @pytest.mark.parametrize(
        ("script", "status", "said"),
        [
            ([chunk("It carries 40")], 200, "ended its answer before it was complete"),
            ([chunk("It carries 40"), DONE], 200, "ended its answer before it was complete"),
            ([chunk("It"), '{"error": {"message": "out of memory"}}'], 200, "ended its answer with an error"),
            ([chunk(""), chunk(finish="stop"), DONE], 200, "gave an empty answer"),
            ([], 401, "refused the question with status 401"),
            ([], 404, "refused the question with status 404"),
        ],
    )
    async def test_a_model_that_does_not_answer_to_the_end_is_an_error_that_says_which(
        self, boats: Index, script: list[dict[str, object] | str], status: int, said: str
    ) -> None:
        with endpoint(*script, status=status) as at, pytest.raises(ModelFailed) as caught:
            await events_of(at, boats)
        assert str(caught.value) == f"small at {at.url.split('/')[2]} {said}"
        assert KEY not in "".join(traceback.format_exception(caught.value))

    async def test_an_endpoint_that_is_not_there_is_named(self, boats: Index) -> None:
        with endpoint() as at:
            pass
        with pytest.raises(ModelFailed, match=r"small at 127\.0\.0\.1:\d+ cannot be reached"):
            await events_of(at, boats)

    @pytest.mark.parametrize(
        ("model", "base_url", "said"),
        [
            ("small", None, "the model small has no endpoint and no key"),
            ("small", "localhost:8080/v1", "is no http:// or https:// address"),
            (" ", "http://127.0.0.1/v1", "the model has no name"),
        ],
    )
    def test_settings_that_cannot_work_are_refused(
        self, monkeypatch: pytest.MonkeyPatch, model: str, base_url: str | None, said: str
    ) -> None:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
        with pytest.raises(ConfigurationError, match=said):
            LlmAgent.at(model, base_url)


class TestCitations:
    @pytest.mark.parametrize(
        ("answer", "written"),
        [
            ("It is so [1].", "It is so [a.md]."),
            ("It is so [1, 2].", "It is so [a.md] [b.md]."),
            ("It is so [9].", "It is so ."),
            ("A list [of words] and [1", "A list [of words] and [1"),
            ("See [1](https://example.org).", "See [a.md](https://example.org)."),
        ],
    )
    def test_numbers_become_places_and_invented_ones_are_left_out(self, answer: str, written: str) -> None:
        whole = Citations(["[a.md]", "[b.md]"])
        assert whole.add(answer) + whole.rest() == written
        piecewise = Citations(["[a.md]", "[b.md]"])
        assert "".join(map(piecewise.add, answer)) + piecewise.rest() == written
