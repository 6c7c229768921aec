"""The agent without a model: what it answers about the example documents, and in which events."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
from chat_sessions.server.agents.local_agent import LocalAgent
from chat_sessions.server.agents.questions import question_from
from chat_sessions.server.documents.indexes import Index, open_index
from chat_sessions.server.turns.agent import AgentTurn

EXAMPLES = Path(__file__).parents[3] / "examples" / "documents"

REPORT, HANDBOOK, NOTES, FAQ = (
    "annual-report-2025.pdf",
    "handbook.md",
    "rg-4-product-notes.md",
    "support-faq.txt",
)


@pytest.fixture(scope="module")
def examples() -> Index:
    return open_index("idx-docs", EXAMPLES)


async def events_of(
    prompt: str, indexes: Sequence[Index], history: Sequence[Event] = (), agent: LocalAgent | None = None
) -> list[Event]:
    turn = AgentTurn(session_id="ses-1", prompt=prompt, indexes=indexes, history=history)
    return [event async for event in (agent or LocalAgent()).run(turn)]


async def conversation(prompts: Sequence[str], indexes: Sequence[Index]) -> list[Event]:
    """The events of the last turn, after all the others were asked in order."""
    history: list[Event] = []
    events: list[Event] = []
    for prompt in prompts:
        events = await events_of(prompt, indexes, history)
        history += [UserInput(content=prompt), *events]
    return events


def text_of(events: Sequence[Event]) -> str:
    return "\n".join(event.content for event in events if isinstance(event, Text))


ANSWERS = [
    # prose, in the words of the document
    (
        "Why did the salt marsh station miss the aim?",
        REPORT,
        6,
        "algae grew on the radar window",
    ),
    ("Which product line grew fastest?", REPORT, 4, "The Streamline service was the fastest growing line."),
    ("What is the gross margin?", REPORT, 10, "rose from 43.2 % to 44.3 %"),
    ("What is the equity ratio?", REPORT, 11, "The equity ratio was 55.8 %."),
    ("When are the first quarter results published?", REPORT, 12, "29 April 2026"),
    ("What is the dividend per share?", REPORT, 2, "EUR 0.36 per share"),
    ("How much energy did the solar roof produce?", REPORT, 8, "produced 402 MWh"),
    ("What happened in the security incident?", REPORT, 9, "an access token of a contractor was misused"),
    ("What were the main findings in Q3?", REPORT, 3, "First, 1,310 RG-4 gauges were delivered"),
    ("What drove the third quarter?", REPORT, 3, "Third, freight costs fell by EUR 0.4 million"),
    # paraphrases
    ("How many vacation days do I get?", HANDBOOK, "Holiday and leave", "28 days of paid holiday a year"),
    ("Can I work remotely?", HANDBOOK, "Working hours and home working", "from home up to three days a week"),
    (
        "How do I send back a device?",
        FAQ,
        "How do I return an instrument?",
        "Open a return in Streamline under Devices",
    ),
    ("How big is the headcount at Port Asher?", REPORT, 7, "| Port Asher | Field services | 58 | 52 |"),
    ("How did sales in Southern Europe develop?", REPORT, 4, "| Southern Europe | 13.8 | 11.2 | +23.2 % |"),
    ("How accurate is the gauge?", REPORT, 5, "| Accuracy | 2 mm | 5 mm |"),
    ("When does core time start?", HANDBOOK, "Working hours and home working", "is from 10:00 to 15:00"),
    # table look-ups: the row, and the column if one was asked for
    ("What was the revenue in the third quarter of 2025?", REPORT, 3, "| 2025 | Q3 |\n|---|---|\n| Revenue | 23.7 |"),
    ("How many orders were received in Q2 2025?", REPORT, 3, "| Orders received | 19.6 |"),
    ("What is the operating margin for the full year?", REPORT, 3, "| Operating margin | 11.6 % |"),
    ("What was the mean error at the Pilot quay?", REPORT, 6, "| Pilot quay | 2.4 |"),
    ("How many employees work in Velmora?", REPORT, 7, "| Velmora | Software | 74 | 61 |"),
    ("How much net debt did the company have?", REPORT, 2, "| Net debt at year end (EUR million) | 1.9 |"),
    ("What were the scope 2 emissions?", REPORT, 8, "| Scope 2: electricity bought | 118 |"),
    ("How much was spent on research and development?", REPORT, 10, "| Research and development | -11.8 |"),
    ("How much cash did the company have at the end of 2025?", REPORT, 11, "| Cash | 11.6 |"),
    ("How many accidents with lost time were there in 2024?", REPORT, 7, "| Accidents with lost time | 5 |"),
    ("What does the RG-4 weigh?", REPORT, 5, "| Property | RG-4 |\n|---|---|\n| Weight | 1.9 kg |"),
    ("How long does the RG4 battery last at a 1 minute interval?", NOTES, "Specification", "7 months"),
    ("What does quality code 7 mean?", NOTES, "Quality codes", "| 7 | Ice | Do not use for flow |"),
    ("Who leads a severity 2 incident?", HANDBOOK, "Incidents", "| 2 | Head of operations |"),
    ("How much may a hotel cost per night?", HANDBOOK, "Travel and expenses", "| Hotel, per night | EUR 140 |"),
    ("What does the calibration cost?", NOTES, "Calibration", "It costs EUR 260"),
    ("battery life of RG-3", REPORT, 5, "| Battery life | 2 years |"),
    (
        "Compare scope 1 and scope 2 emissions in 2025",
        REPORT,
        8,
        "| Scope 1: own vehicles and heating | 210 |\n| Scope 2",
    ),
    ("How much revenue came from Streamline in 2024?", REPORT, 4, "| Streamline service | 11.4 |"),
    # a whole table, the most and the least
    ("What are the main risks?", REPORT, 9, "| Loss of key engineers | Medium | Medium |"),
    ("What is planned for 2026?", REPORT, 12, "| RG-5 gauge with flow measurement | Second quarter |"),
    ("Which station had the largest mean error?", REPORT, 6, "| Mean error (mm) |\n|---|---|\n| Salt marsh | 5.8 |"),
    ("Which region had the lowest revenue in 2025?", REPORT, 4, "| North America | 11.2 |"),
    # plain text
    ("How much is the Network plan of Streamline?", FAQ, "What does Streamline cost?", "EUR 14 per station and month"),
    ("Where is my data stored?", FAQ, "Where is my data stored?", "in Frankfurt and in Dublin"),
    (
        "What should I do if a station stops sending?",
        FAQ,
        "A station has stopped sending. What should I do?",
        "First look at",
    ),
    ("which soil probe for orchards", FAQ, "Which soil probe should I order?", "The SP-2L is 150 cm long"),
    # what a thing is, what a document is about, how many there are, a whole row
    ("What is the RG-4?", REPORT, 5, "The RG-4 replaces the RG-3 that had been sold since 2017. It measures"),
    ("What is this report about?", REPORT, 1, "Tarnwick Instruments makes gauges, probes and masts"),
    ("Summarise the handbook", HANDBOOK, "Employee handbook", "It applies at all sites."),
    ("How many employees are there?", REPORT, 7, "| Total |  | 366 | 330 |"),
    ("How did revenue develop by quarter?", REPORT, 3, "| Revenue | 18.4 | 20.1 | 23.7 | 22.0 | 84.2 |"),
    ("What was the revenue for the year as a whole?", REPORT, 3, "| Revenue | 84.2 |"),
    # a page named by its number
    ("What does page 3 say about orders received in Q4?", REPORT, 3, "| Orders received | 24.1 |"),
    ("What is on page 6?", REPORT, 6, "twelve RG-4 gauges"),
]

FOLLOW_UPS = [
    (["Which station had the largest mean error?", "Why?"], REPORT, 6, "because algae grew on the radar window"),
    (["What was the revenue in Q3 2025?", "And in 2024?"], REPORT, 3, "| Revenue | 19.5 |"),
    (["What was the revenue in Q3 2025?", "And in 2024?", "And in Q4?"], REPORT, 3, "| Revenue | 20.0 |"),
    (["What was the revenue in Q3 2025?", "And the operating profit?"], REPORT, 3, "| Operating profit | 3.4 |"),
    (
        ["How much revenue did soil probes bring in?", "What about weather masts?"],
        REPORT,
        4,
        "| Weather masts | 11.5 |",
    ),
    (["What is the dividend per share?", "When is it paid?"], REPORT, 2, "on 28 May 2026"),
    (
        ["How long is the warranty?", "And for refurbished instruments?"],
        FAQ,
        "How long is the warranty?",
        "have 24 months",
    ),
    (["What is the RG-4?", "How long is its warranty?"], FAQ, "How long is the warranty?", "36 months"),
    (["What is the RG-4?", "How long is its warranty?", "And its price?"], REPORT, 5, "| List price | EUR 2,450 |"),
    (
        ["What is the RG-4?", "What does it weigh?", "And the RG-3?"],
        REPORT,
        5,
        "| RG-3 |\n|---|---|\n| Weight | 4.2 kg |",
    ),
    (["What was the revenue in Q3 2025?", "And for the year as a whole?"], REPORT, 3, "| Revenue | 84.2 |"),
    (["What was the revenue in Q3 2025?", "And what about Q4?"], REPORT, 3, "| Revenue | 22.0 |"),
    (
        ["What was the revenue in Q3 2025?", "And what was the operating profit?"],
        REPORT,
        3,
        "| Operating profit | 3.4 |",
    ),
    (["How many employees are there?", "And in 2024?"], REPORT, 2, "| Employees at year end | 330 |"),
    (["What were the scope 2 emissions?", "And in 2024?"], REPORT, 8, "| Scope 2: electricity bought | 247 |"),
    (
        ["What was the revenue in Q3 2025?", "How many vacation days do I get?"],
        HANDBOOK,
        "Holiday and leave",
        "28 days",
    ),
]

ABSENT = [
    ("Who is the chief executive?", "executive"),
    ("How many employees work in Berlin?", "Berlin"),
    ("What was the revenue in 2019?", "2019"),
    ("What is the price of the RG-9?", "RG-9"),
    ("Does the company sell in Japan?", "Japan"),
    ("How many river gauges were sold in Japan?", "Japan"),
    ("What was the revenue of river gauges in Japan in 2025?", "Japan"),
    ("What did the board decide about the parental leave of contractors?", None),
    ("Why did revenue in Japan fall?", "Japan"),
    ("Who won the world cup?", "cup"),
    ("How many parking spaces are there?", "parking"),
    ("What was the share price?", None),
    ("What is on page 99?", None),
    ("Who runs the company?", None),
    ("Which figures does it give?", None),
    ("hello", "hello"),
    ("?", None),
]


@pytest.mark.parametrize(("prompt", "file", "place", "phrase"), ANSWERS, ids=[case[0] for case in ANSWERS])
async def test_a_question_is_answered_in_the_words_of_the_documents_and_cited(
    examples: Index, prompt: str, file: str, place: int | str, phrase: str
) -> None:
    text = text_of(await events_of(prompt, [examples]))
    assert phrase in text
    assert text.endswith(f"[{file}, {f'page {place}' if isinstance(place, int) else place}]")
    assert len(text) < 700


@pytest.mark.parametrize(
    ("prompts", "file", "place", "phrase"), FOLLOW_UPS, ids=[" ".join(case[0]) for case in FOLLOW_UPS]
)
async def test_a_follow_up_is_understood_from_the_prompts_before_it(
    examples: Index, prompts: list[str], file: str, place: int | str, phrase: str
) -> None:
    text = text_of(await conversation(prompts, [examples]))
    assert phrase in text
    assert text.endswith(f"[{file}, {f'page {place}' if isinstance(place, int) else place}]")


@pytest.mark.parametrize(("prompt", "unknown"), ABSENT, ids=[case[0] for case in ABSENT])
async def test_what_no_document_says_is_not_answered(examples: Index, prompt: str, unknown: str | None) -> None:
    events = await events_of(prompt, [examples])
    text = text_of(events)
    assert text.startswith("I found nothing in the documents that answers this.")
    assert ("They never mention" in text) == (unknown is not None)
    assert unknown is None or f"“{unknown}”" in text
    assert [event.name for event in events if isinstance(event, ToolCall)] == ["retrieve"]


BAKERY = """# Rolls and bread

A rye roll is EUR 1.20 and a white roll EUR 0.90.

# Opening hours

The bakery opens at 7 on weekdays and at 9 on Sundays.

# Delivery

Bread is delivered in Ormsay on weekdays.
"""


@pytest.mark.parametrize(
    ("prompts", "phrase"),
    [
        (["When does the bakery open on Sundays?", "And how much is a rye roll?"], "EUR 1.20"),
        (["When does the bakery open on Sundays?", "And what about the rye roll?"], "EUR 1.20"),
        (["How much is a rye roll?", "And a white roll?"], "EUR 0.90"),
        (["How much is a rye roll?", "And when does the bakery open?"], "at 7 on weekdays"),
    ],
)
async def test_a_change_of_topic_that_sounds_like_a_follow_up_is_answered(
    tmp_path: Path, prompts: list[str], phrase: str
) -> None:
    (tmp_path / "bakery.md").write_text(BAKERY)
    assert phrase in text_of(await conversation(prompts, [open_index("idx-bakery", tmp_path)]))


@pytest.mark.parametrize(
    "prompts",
    [
        ["What were the main findings in Q3?", "And in 2024?"],
        ["What were the main findings in Q3?", "And for the year as a whole?"],
        ["What was the revenue in Q3 2025?", "And in Japan?"],
        ["What was the revenue in Q3 2025?", "And in 2019?"],
    ],
    ids=" ".join,
)
async def test_the_answer_before_is_not_given_again_to_a_follow_up_that_nothing_answers(
    examples: Index, prompts: list[str]
) -> None:
    text = text_of(await conversation(prompts, [examples]))
    assert text.startswith("I found nothing in the documents that answers this.")


async def test_a_question_of_nothing_but_words_that_shape_questions_finds_the_line_with_all_of_them(
    tmp_path: Path,
) -> None:
    (tmp_path / "invoice.md").write_text("| Item | EUR |\n|---|---|\n| Rolls | 12.00 |\n| Total | 14.28 |\n")
    invoice = open_index("idx-invoice", tmp_path)
    assert "| Total | 14.28 |" in text_of(await events_of("What is the total?", [invoice]))
    assert "| Total | 14.28 |" in text_of(await events_of("How much is the total?", [invoice]))
    assert text_of(await events_of("What is the total weight?", [invoice])).startswith("I found nothing")


async def test_a_single_document_is_what_the_question_is_about_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "bakery.md").write_text(BAKERY)
    text = text_of(await events_of("What is this document about?", [open_index("idx-bakery", tmp_path)]))
    assert text.startswith("A rye roll is EUR 1.20")


async def test_what_a_document_is_about_is_told_in_the_middle_of_a_conversation_too(examples: Index) -> None:
    text = text_of(await conversation(["What is the RG-4?", "What is this report about?"], [examples]))
    assert text.startswith("Tarnwick Instruments makes gauges, probes and masts")


async def test_a_page_named_in_the_middle_of_a_conversation_is_opened(examples: Index) -> None:
    for prompt in ("What is on page 6?", "What is page 6 about?"):
        text = text_of(await conversation(["What is the RG-4?", prompt], [examples]))
        assert text == text_of(await events_of("What is on page 6?", [examples]))


async def test_how_many_there_are_is_told_by_a_number_of_them(tmp_path: Path) -> None:
    (tmp_path / "library.md").write_text("# Library\n\nThe library lends books for 28 days. It has 42,000 books.\n")
    library = open_index("idx-library", tmp_path)
    assert text_of(await events_of("How many books does the library have?", [library])).startswith("It has 42,000")


_ANY_PROMPT = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from(sorted(set(" ".join(case[0] for case in ANSWERS).split()))), max_size=12).map(" ".join),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=_ANY_PROMPT)
def test_whatever_is_asked_every_quoted_line_is_in_the_cited_document(examples: Index, prompt: str) -> None:
    text = text_of(asyncio.run(events_of(prompt, [examples])))
    if text.startswith("I found nothing"):
        return
    quoted, _, citation = text.rpartition("[")
    name, _, place = citation.removesuffix("]").partition(", ")
    document = next(document for document in examples.documents if document.name == name)
    number = int(place.removeprefix("page ")) if place.startswith("page ") else None
    source = "\n".join(
        page.text for page in document.pages if page.number == number and place.endswith((page.section, str(number)))
    )
    words = set(re.findall(r"[^\s|]+", source))
    for line in quoted.strip().splitlines():
        if line.startswith("|"):
            assert set(re.findall(r"[^\s|]+", line)) <= words | {"---"}
        else:
            for piece in line.split(" … "):
                assert all(part.strip() in source for part in re.split(r"(?<=[.!?]) ", piece.strip()))


class TestEvents:
    async def test_a_turn_thinks_retrieves_reads_the_page_answers_and_stops(self, examples: Index) -> None:
        events = await events_of("What was the revenue in Q3 2025?", [examples])
        kinds = [event.type for event in events if not isinstance(event, ThinkingDelta | TextDelta)]
        assert kinds == [
            "thinking",
            "tool_call",
            "tool_result",
            "thinking",
            "tool_call",
            "tool_result",
            "text",
            "stop",
        ]

    async def test_deltas_join_to_the_segment_that_follows_them(self, examples: Index) -> None:
        deltas = ""
        for event in await events_of("What are the main risks?", [examples]):
            if isinstance(event, ThinkingDelta | TextDelta):
                deltas += event.content
            elif isinstance(event, Thinking | Text):
                assert deltas == event.content
                deltas = ""
        assert deltas == ""

    async def test_retrieve_says_what_it_searched_and_gives_the_passages(self, examples: Index) -> None:
        events = await events_of("What was the revenue in Q3 2025?", [examples], agent=LocalAgent(passages=3))
        call = next(event for event in events if isinstance(event, ToolCall))
        result = next(event for event in events if isinstance(event, ToolResult))
        assert call.arguments == {"query": "What was the revenue in Q3 2025?", "index_ids": ["idx-docs"], "top_k": 3}
        assert result.call_id == call.call_id
        results = cast("dict[str, Any]", result.result)["results"]
        assert len(results) == 3
        assert any(item["static_fields"]["page_range_start"] == 3 for item in results)
        scores = [item["score"] for item in results]
        assert scores == sorted(scores, reverse=True)

    async def test_read_gives_the_whole_page_and_a_screenshot_that_is_there(self, examples: Index) -> None:
        events = await events_of("What was the revenue in Q3 2025?", [examples])
        (*_, call) = (event for event in events if isinstance(event, ToolCall))
        (*_, result) = (event for event in events if isinstance(event, ToolResult))
        report = examples.documents[0]
        page = report.page(3)
        assert page is not None
        assert (call.name, call.arguments) == ("read", {"file_id": report.file_id, "page": 3})
        assert result.result == {"content": page.text}
        assert result.image_attachment is not None
        image = examples.attachment(result.image_attachment.source_id, result.image_attachment.attachment_name)
        assert image is not None
        assert image.startswith(b"\xff\xd8")

    async def test_a_text_without_pages_is_answered_from_its_passage(self, examples: Index) -> None:
        events = await events_of("How many vacation days do I get?", [examples])
        assert [event.name for event in events if isinstance(event, ToolCall)] == ["retrieve"]

    async def test_call_ids_are_unique_in_a_session(self, examples: Index) -> None:
        first = await events_of("What was the revenue in Q3 2025?", [examples])
        second = await events_of(
            "And in 2024?", [examples], [UserInput(content="What was the revenue in Q3 2025?"), *first]
        )
        ids = [event.call_id for event in (*first, *second) if isinstance(event, ToolCall)]
        assert ids == ["call_1", "call_2", "call_3", "call_4"]

    async def test_a_follow_up_retrieves_with_the_words_it_left_out(self, examples: Index) -> None:
        events = await conversation(["What was the revenue in Q3 2025?", "And in 2024?"], [examples])
        call = next(event for event in events if isinstance(event, ToolCall))
        assert call.arguments["query"] == "And in 2024? revenue Q3"

    async def test_a_follow_up_that_finds_nothing_with_the_earlier_words_is_searched_by_itself(
        self, examples: Index
    ) -> None:
        events = await conversation(["What is the RG-4?", "How long is its warranty?"], [examples])
        calls = [event for event in events if isinstance(event, ToolCall)]
        assert [call.arguments["query"] for call in calls] == [
            "How long is its warranty? RG-4",
            "How long is its warranty?",
        ]
        assert len({call.call_id for call in calls}) == 2
        stop = events[-1]
        assert isinstance(stop, Stop)
        assert stop.usage.turns == 3

    async def test_usage_counts_words_and_rounds(self, examples: Index) -> None:
        events = await events_of("What was the revenue in Q3 2025?", [examples])
        stop = events[-1]
        assert isinstance(stop, Stop)
        assert not stop.is_error
        assert stop.usage.turns == 3
        assert stop.usage.input_tokens is not None
        assert stop.usage.input_tokens > 300
        said = " ".join(event.content for event in events if isinstance(event, Thinking | Text))
        assert stop.usage.output_tokens == len(re.findall(r"\d+(?:\.\d+)*(?![\w-])|[^\W_]+(?:[-'][^\W_]+)*", said))
        assert stop.usage.duration_ms is not None
        assert stop.usage.duration_ms > 0

    async def test_the_first_event_leaves_before_anything_is_searched(
        self, folder_that_must_not_be_searched: Index
    ) -> None:
        turn = AgentTurn("ses-1", "What is the wind speed?", [folder_that_must_not_be_searched], [])
        answer = LocalAgent().run(turn)
        assert isinstance(await anext(answer), ThinkingDelta)

    async def test_other_tasks_run_between_two_pieces_of_the_answer(self, examples: Index) -> None:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        seen: list[int] = []
        async for event in LocalAgent().run(AgentTurn("ses-1", "What is the equity ratio?", [examples], [])):
            if isinstance(event, ThinkingDelta | TextDelta):
                seen.append(turns)
        counting.cancel()
        assert len(set(seen)) == len(seen) > 3


@pytest.fixture
def folder_that_must_not_be_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    (tmp_path / "a.md").write_text("The wind speed is 5.")

    def refuse(*_: object, **__: object) -> list[Any]:
        raise AssertionError("searched too early")

    index = open_index("idx-a", tmp_path)
    monkeypatch.setattr(index, "search", refuse)
    return index


class TestIndexes:
    async def test_the_best_passages_of_all_indexes_are_taken_together(self, examples: Index, tmp_path: Path) -> None:
        (tmp_path / "boats.md").write_text("# Boats\n\nThe ferry to Ormsay carries 40 cars.\n")
        boats = open_index("idx-boats", tmp_path)
        for order in ([examples, boats], [boats, examples]):
            assert "40 cars" in text_of(await events_of("How many cars does the ferry carry?", order))
            assert "23.7" in text_of(await events_of("What was the revenue in Q3 2025?", order))

    async def test_an_answer_stays_short_whatever_the_document_holds(self, tmp_path: Path) -> None:
        (tmp_path / "a.md").write_text(f"| Item | Note |\n|---|---|\n| Ferry | {'deck ' * 5000}|\n| Tug | none |\n")
        text = text_of(await events_of("What is the note on the ferry?", [open_index("idx-a", tmp_path)]))
        assert text.endswith(" …\n\n[a.md]")
        assert len(text) < 4100

    async def test_a_question_that_names_a_page_alone_gets_its_first_sentences(self, tmp_path: Path) -> None:
        report = (EXAMPLES / REPORT).read_bytes()
        (tmp_path / "report.pdf").write_bytes(report)
        text = text_of(await events_of("What is on page 1?", [open_index("idx-a", tmp_path)]))
        assert text.startswith("Tarnwick Instruments makes gauges, probes and masts")

    async def test_without_an_index_it_says_so(self) -> None:
        events = await events_of("What was the revenue?", [])
        assert text_of(events) == "I found nothing: none of the indexes of this session can be searched."

    async def test_an_agent_that_may_retrieve_nothing_is_refused(self) -> None:
        with pytest.raises(ValueError, match="passages must be at least 1, not 0"):
            LocalAgent(passages=0)


class TestQuestions:
    def test_a_later_period_takes_the_place_of_an_earlier_one(self) -> None:
        question = question_from("And in 2024?", ["What was the revenue in Q3 2025?"])
        assert set(question.subject) >= {"2024", "q3"}
        assert "2025" not in question.weights

    def test_a_new_subject_outweighs_what_is_carried_over(self) -> None:
        question = question_from("What about weather masts?", ["What did soil probes bring in?"])
        assert question.weights["mast"] > question.weights["soil"] > 0

    def test_a_question_that_stands_alone_carries_nothing(self) -> None:
        question = question_from("How long is the warranty?", ["What was the revenue in Q3 2025?"])
        assert question.query == "How long is the warranty?"
        assert "revenue" not in " ".join(question.words.values())

    def test_a_first_prompt_that_sounds_like_a_follow_up_is_taken_as_it_is(self) -> None:
        assert question_from("And in 2024?").subject == ["2024"]

    def test_why_looks_at_the_answer_before(self) -> None:
        question = question_from("Why?", ["Which station was worst?"], "| Salt marsh | 5.8 |")
        assert "marsh" in question.weights
