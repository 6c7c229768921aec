"""The agent with a model: what the model sees, what becomes of its answer, and how it fails."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest
from llama_index.core.llms import MockLLM

from chat_sessions import LocalServer
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.events import (
    Event,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    UserInput,
)
from chat_sessions.server.agents.citations import Citations
from chat_sessions.server.agents.llm_agent import LlmAgent, ModelFailed
from chat_sessions.server.documents.indexes import Index, open_index
from chat_sessions.server.turns.agent import AgentTurn
from tests.server.agents.openai_endpoint import DONE, Endpoint, chunk, endpoint, endpoint_of, tokens, wanted
from tests.server.documents.made import pdf
from tests.wire_server import Connection, Request, WireServer

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

    async def test_an_llm_that_is_not_openais_needs_nothing_of_openais(
        self, boats: Index, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "openai", None)
        events = [event async for event in LlmAgent(MockLLM()).run(AgentTurn("ses-1", "How many cars?", [boats], []))]
        assert "The ferry carries 40 cars." in "".join(e.content for e in events if isinstance(e, Text))
        assert isinstance(events[-1], Stop)

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


DONE_SAYING_40 = (chunk("40 cars [1]."), chunk(finish="stop"), tokens(30, 3), DONE)


class TestTools:
    async def test_a_model_may_search_again_in_its_own_words_and_cite_what_it_found(self, boats: Index) -> None:
        first = (*wanted("a1", "retrieve", '{"query": "people"}'), tokens(20, 5), DONE)
        second = (chunk("Trains do [2]."), chunk(finish="stop"), tokens(30, 3), DONE)
        with endpoint_of(first, second) as at:
            events = await events_of(at, boats, "What carries cars?")
        calls = [(event.call_id, event.arguments) for event in events if isinstance(event, ToolCall)]
        assert [call_id for call_id, _ in calls] == ["call_1", "call_2"]
        assert calls[1][1]["query"] == "people"
        results = [event for event in events if isinstance(event, ToolResult)]
        assert "Trains carry people." in str(results[1].result)
        assert [event.content for event in events if isinstance(event, Text)] == ["Trains do [boats.md, Trains]."]
        stop = events[-1]
        assert isinstance(stop, Stop)
        assert (stop.usage.input_tokens, stop.usage.output_tokens, stop.usage.turns) == (50, 8, 3)
        *_, asked, read = at.requests[1]["messages"]
        assert asked["tool_calls"][0]["function"] == {"name": "retrieve", "arguments": '{"query": "people"}'}
        assert (read["role"], read["tool_call_id"]) == ("tool", "a1")
        assert read["content"] == "[2] boats.md, Trains\n# Trains\n\nTrains carry people."

    async def test_a_model_may_read_the_whole_page_of_a_passage(self, tmp_path: Path) -> None:
        (tmp_path / "boats.pdf").write_bytes(pdf([(72, 700, "The ferry carries 40 cars.")]))
        index = open_index("idx-boats", tmp_path)
        first = (*wanted("a1", "read", '{"passage": 1}'), DONE)
        with endpoint_of(first, DONE_SAYING_40) as at:
            events = await events_of(at, index)
        (*_, result) = (event for event in events if isinstance(event, ToolResult))
        assert result.name == "read"
        assert result.image_attachment is not None
        assert at.requests[1]["messages"][-1]["content"].startswith("[1] boats.pdf, page 1, the whole page\n")

    @pytest.mark.parametrize(
        ("name", "arguments", "said"),
        [
            ("read", '{"passage": 9}', "there is no passage 9"),
            ("read", '{"passage": "one"}', "there is no passage one"),
            ("delete", '{"file": "boats.md"}', "there is no such tool; use retrieve or read"),
            ("retrieve", "{}", "(nothing was found)"),
            ("retrieve", '{"query"', "(nothing was found)"),
        ],
    )
    async def test_a_call_that_makes_no_sense_is_answered_with_the_reason(
        self, boats: Index, name: str, arguments: str, said: str
    ) -> None:
        with endpoint_of((*wanted("a1", name, arguments), DONE), DONE_SAYING_40) as at:
            events = await events_of(at, boats)
        assert at.requests[1]["messages"][-1]["content"] == said
        assert [event.content for event in events if isinstance(event, Text)] == ["40 cars [boats.md, Ferries]."]

    async def test_a_model_that_only_calls_tools_is_asked_without_them_in_the_end(self, boats: Index) -> None:
        only_calls = (*wanted("a1", "retrieve", '{"query": "cars"}'), DONE)
        with endpoint_of(only_calls) as at, pytest.raises(ModelFailed, match="gave an empty answer"):
            await events_of(at, boats)
        assert ["tools" in request for request in at.requests] == [True, True, True, True, False]

    async def test_a_model_without_tools_is_asked_once_more_without_them_and_then_never_with(
        self, boats: Index
    ) -> None:
        with endpoint_of(DONE_SAYING_40, takes_tools=False) as at:
            agent = LlmAgent.at("small", at.url, KEY)
            for _ in range(2):
                turn = AgentTurn("ses-1", "How many cars?", [boats], [])
                events = [event async for event in agent.run(turn)]
                assert isinstance(events[-1], Stop)
        assert ["tools" in request for request in at.requests] == [True, False, False]

    async def test_an_answer_has_a_bound(self, boats: Index) -> None:
        with endpoint(*DONE_SAYING_40) as at:
            await events_of(at, boats)
        assert at.requests[0]["max_tokens"] == 4096


class TestTitles:
    def test_a_session_gets_its_title_from_the_model_once_its_first_message_is_answered(self, tmp_path: Path) -> None:
        (tmp_path / "a.md").write_text("The ferry carries 40 cars.")
        title = (chunk('"Cars on the ferry"'), chunk(finish="stop"), DONE)
        with (
            endpoint_of(DONE_SAYING_40, title, title, DONE_SAYING_40) as at,
            LocalServer(indexes={"idx-a": tmp_path}, agent=LlmAgent.at("small", at.url, KEY)) as server,
        ):
            session = server.client().session()
            session.ask("How many cars does the ferry carry?")
            titles = (session.summary().generated_title for _ in range(2000))
            assert "Cars on the ferry" in titles
            assert session.set_title(first_message="Something else").generated_title == "Cars on the ferry"
            session.ask("And people?")
        assert len(at.requests) == 4

    def test_without_a_title_of_the_model_the_first_sentence_is_the_title(self, tmp_path: Path) -> None:
        (tmp_path / "a.md").write_text("The ferry carries 40 cars.")
        with endpoint() as at:
            pass
        with LocalServer(indexes={"idx-a": tmp_path}, agent=LlmAgent.at("small", at.url, KEY)) as server:
            client = server.client()
            session = client.create(index_ids=["idx-a"])
            assert client.set_title(session.session_id, first_message="Ferries.").generated_title == "Ferries"

    def test_no_client_of_a_model_outlives_its_answer_however_that_ends(self, boats: Index) -> None:
        def answer(_request: Request, connection: Connection) -> None:
            asked.set()
            connection.start_stream()
            connection.chunk(f"data: {json.dumps(chunk('Ferries'))}\n\n".encode())
            connection.wait_until_closed()

        async def leave(agent: LlmAgent) -> None:
            title = asyncio.create_task(agent.title_for("Ferries."))
            await asyncio.to_thread(asked.wait)
            title.cancel()
            await asyncio.wait([title])
            async with aclosing(agent.run(AgentTurn("ses-1", "Ferries?", [boats], []))) as events:
                async for event in events:
                    if isinstance(event, TextDelta):
                        break

        asked = threading.Event()
        before = _open_clients()
        with WireServer() as server:
            server.on("POST", "/chat/completions", answer)
            agent = LlmAgent.at("small", f"{server.url}/v1", KEY)
            asyncio.run(leave(agent))
            assert len(server.requests) == 2
            assert _open_clients() == before
            assert server.was_left()


def _open_clients() -> int:
    clients = [one for one in gc.get_objects() if issubclass(type(one), httpx.AsyncClient)]
    return sum(not client.is_closed for client in clients)


class TestFailures:
    @pytest.mark.parametrize(
        ("script", "status", "said"),
        [
            ([chunk("It carries 40")], 200, "ended its answer before it was complete"),
            ([chunk("It carries 40"), DONE], 200, "ended its answer before it was complete"),
            ([chunk("It"), '{"error": {"message": "out of memory"}}'], 200, "ended its answer with an error"),
            ([chunk("It"), "{carries"], 200, "sent an answer that is not in OpenAI's format"),
            ([chunk(""), chunk(finish="stop"), DONE], 200, "gave an empty answer"),
            ([], 400, "refused the question with status 400"),
            ([], 401, "refused the question with status 401: check its key"),
            (
                [],
                404,
                "refused the question with status 404: check the name of the model and the address of the endpoint",
            ),
            ([], 429, "refused the question with status 429: too many questions, or no credit is left"),
        ],
    )
    async def test_a_model_that_does_not_answer_to_the_end_is_an_error_that_says_which(
        self, boats: Index, script: list[dict[str, object] | str], status: int, said: str
    ) -> None:
        with endpoint(*script, status=status) as at, pytest.raises(ModelFailed) as caught:
            await events_of(at, boats)
        assert str(caught.value) == f"small at {at.url.split('/')[2]} {said}"
        assert KEY not in "".join(traceback.format_exception(caught.value))

    async def test_a_connection_that_breaks_within_the_answer_is_an_error_that_says_which(self, boats: Index) -> None:
        def breaking(request: Request, connection: Connection) -> None:
            connection.start_stream()
            connection.chunk(f"data: {json.dumps(chunk('It carries'))}\n\n".encode())
            connection.reset()

        with WireServer() as server:
            server.on("POST", "/chat/completions", breaking)
            agent = LlmAgent.at("small", f"{server.url}/v1", KEY)
            with pytest.raises(ModelFailed) as caught:
                async for _ in agent.run(AgentTurn("ses-1", "How many cars does the ferry carry?", [boats], [])):
                    pass
        assert str(caught.value) == f"small at {server.url.split('/')[2]} broke off its answer"

    async def test_an_endpoint_that_is_not_there_is_named(self, boats: Index) -> None:
        with endpoint() as at:
            pass
        with pytest.raises(ModelFailed, match=r"small at 127\.0\.0\.1:\d+ cannot be reached"):
            await events_of(at, boats)

    @pytest.mark.parametrize(
        ("model", "base_url", "said"),
        [
            ("small", None, "the model small has no endpoint and no key"),
            ("small", "localhost:8080/v1", "is not an http:// or https:// address"),
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
            ("It is so [1-2].", "It is so [a.md] [b.md]."),
            ("It is so [2 \u2013 9; 1].", "It is so [b.md] [a.md]."),
            ("It is so [7-9].", "It is so ."),
            ("\u305d\u3046\u3067\u3059\u30102\u3011\u3002", "\u305d\u3046\u3067\u3059[b.md]\u3002"),
            ("A list [of words] and [1", "A list [of words] and [1"),
            ("See [1](https://example.org).", "See [a.md](https://example.org)."),
        ],
    )
    def test_numbers_become_places_and_invented_ones_are_left_out(self, answer: str, written: str) -> None:
        whole = Citations(["[a.md]", "[b.md]"])
        assert whole.add(answer) + whole.rest() == written
        piecewise = Citations(["[a.md]", "[b.md]"])
        assert "".join(map(piecewise.add, answer)) + piecewise.rest() == written
