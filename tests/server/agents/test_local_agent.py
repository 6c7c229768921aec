"""The agent without a model: what it quotes, what it says of its own, and in which events."""

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
from chat_sessions.server.agents.local_agent import QUOTES, LocalAgent
from chat_sessions.server.documents.indexes import Index, open_index
from chat_sessions.server.turns.agent import AgentTurn

EXAMPLES = Path(__file__).parents[3] / "examples" / "documents"
REPORT, HANDBOOK, NOTES, FAQ = "annual-report-2025.pdf", "handbook.md", "rg-4-product-notes.md", "support-faq.txt"


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


def served(folder: Path, **files: str | bytes) -> Index:
    """An index of files that are named `name_ending`."""
    for name, content in files.items():
        path = folder / name.replace("_", ".")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_index("idx-own", folder)


QUOTED = [
    ("Why did the salt marsh station miss the aim?", REPORT, "page 6", "algae grew on the radar window"),
    ("Which product line grew fastest?", REPORT, "page 4", "The Streamline service was the fastest growing line."),
    ("What is the equity ratio?", REPORT, "page 11", "The equity ratio was 55.8 %."),
    ("When are the first quarter results published?", REPORT, "page 12", "29 April 2026"),
    ("What is the dividend per share?", REPORT, "page 2", "EUR 0.36"),
    ("What happened in the security incident?", REPORT, "page 9", "an access token of a contractor was misused"),
    ("What was the operating margin in Q3 2025?", REPORT, "page 3", "| Operating margin | 8.7 % | 10.9 % | 14.3 % |"),
    ("How much scope 2 electricity was bought?", REPORT, "page 8", "| Scope 2: electricity bought | 118 |"),
    ("How long does the RG4 battery last at a 1 minute interval?", NOTES, "Specification", "7 months"),
    ("What does quality code 7 mean?", NOTES, "Quality codes", "| 7 | Ice | Do not use for flow |"),
    ("Who leads a severity 2 incident?", HANDBOOK, "Incidents", "Head of operations |"),
    ("How much is the Network plan of Streamline?", FAQ, "Support questions", "EUR 14 per station and month"),
    ("Where is my data stored?", FAQ, "Support questions", "in Frankfurt and in Dublin"),
    ("Wie lange dauert eine Führung?", "besuch-in-port-asher.md", "In den Hallen", "dauern 90 Minuten"),
    ("Combien coûte l'adhésion ?", "reseau-des-rivieres.txt", "Réseau des rivières", "180 euros"),
    ("保管温度は何度ですか", "hokan-to-yuso.md", "保管", "プラス45度まで"),
]

FOLLOW_UPS = [
    (["What was the operating margin in Q3 2025?", "And in Q4?"], "| Operating margin |"),
    (["How long is the warranty?", "And for refurbished instruments?"], "24 months"),
    (["What was the revenue in Q3 2025?", "What does quality code 7 mean?"], "| 7 | Ice |"),
]


class TestQuoting:
    @pytest.mark.parametrize(("prompt", "file", "place", "phrase"), QUOTED, ids=[case[0] for case in QUOTED])
    async def test_the_passage_that_answers_is_quoted_with_its_file_and_place(
        self, examples: Index, prompt: str, file: str, place: str, phrase: str
    ) -> None:
        text = text_of(await events_of(prompt, [examples]))
        assert phrase in text
        assert f"[{file}, {place}" in text.partition(phrase)[2]
        assert text.endswith(QUOTES)

    @pytest.mark.parametrize(("prompts", "phrase"), FOLLOW_UPS, ids=[" ".join(case[0]) for case in FOLLOW_UPS])
    async def test_a_follow_up_is_searched_with_the_words_of_the_prompt_before_it(
        self, examples: Index, prompts: list[str], phrase: str
    ) -> None:
        assert phrase in text_of(await conversation(prompts, [examples]))

    @pytest.mark.parametrize(
        ("prompt", "missing"),
        [
            ("Who is the chief executive?", "No file has the words “chief” or “executive”."),
            ("Does the company sell in Japan?", "No file has the word “Japan”."),
            ("What was the price of the RG-9?", "No file has the word “RG-9”."),
        ],
    )
    async def test_words_that_no_file_has_are_named_before_the_nearest_passages(
        self, examples: Index, prompt: str, missing: str
    ) -> None:
        assert text_of(await events_of(prompt, [examples])).startswith(f"{missing} The nearest:\n\n")

    @pytest.mark.parametrize(
        ("prompt", "said"),
        [
            ("What is the gate code?", "No file has the word “gate”."),
            ("Wie hoch ist der halbe Jahresbeitrag?", "No file has the word “halbe”."),
            ("What is the shed password?", "No file has the word “password”."),
            ("How much rent is due?", ""),
            ("How much is the rent and how much rent is due?", ""),
            ("What is the shed code?", ""),
        ],
    )
    async def test_a_word_that_no_file_has_beside_one_that_is_shown_is_named_after_the_passages(
        self, tmp_path: Path, prompt: str, said: str
    ) -> None:
        index = served(
            tmp_path, a_md="The shed code is 6161. The rent is due in May. Der Jahresbeitrag beträgt 90 Euro."
        )
        quoted, *rest = text_of(await events_of(prompt, [index])).split("\n\n")
        assert quoted.endswith("[a.md]")
        assert rest == [*([said] if said else []), QUOTES]

    @pytest.mark.parametrize(
        ("prompt", "missing"),
        [
            ("What was profit in 2025?", "profit"),
            ("How much is insurance in 2025?", "insurance"),
            ("profit 2025", "profit"),
            ("Wie hoch war der Gewinn 2025?", "Gewinn"),
            ("Quel était le bénéfice en 2025 ?", "bénéfice"),
        ],
    )
    async def test_where_files_have_only_the_year_of_a_question_its_other_words_are_said_to_be_missing(
        self, tmp_path: Path, prompt: str, missing: str
    ) -> None:
        index = served(tmp_path, a_csv="figure;2024;2025\nRevenue;120;140\nRent;11;12\n")
        text = text_of(await conversation([prompt], [index]))
        assert text.startswith(f"No file has the word “{missing}”. The nearest:\n\n| figure | 2024 | 2025 |")

    async def test_that_is_said_of_a_follow_up_too(self, tmp_path: Path) -> None:
        index = served(tmp_path, a_csv="figure;2024;2025\nRevenue;120;140\nRent;11;12\n")
        text = text_of(await conversation(["What was the rent in 2024?", "And what was the profit in 2025?"], [index]))
        assert "\n\nNo file has the word “profit”." in text

    @pytest.mark.parametrize(
        "prompt", ["How much in 2025?", "What happened in 2025?", "Show me 2025", "Combien en 2025 ?", "And 2025?"]
    )
    async def test_how_a_question_about_a_year_begins_is_not_missed(self, tmp_path: Path, prompt: str) -> None:
        index = served(tmp_path, a_csv="figure;2024;2025\nRevenue;120;140\nRent;11;12\n")
        assert "No file" not in text_of(await conversation([prompt], [index]))

    @pytest.mark.parametrize("prompts", [["Warum?"], ["Warum?", "Wieso?"], ["Why?", "Warum?"]], ids=" ".join)
    async def test_a_question_of_one_word_is_about_the_last_prompt_that_says_something(
        self, tmp_path: Path, prompts: list[str]
    ) -> None:
        trip = "Der Ausflug ist verschoben, weil das Schiff in der Werft war."
        index = served(tmp_path, a_md=trip, b_md="Die Turnhalle ist geschlossen, weil das Dach undicht ist.")
        text = text_of(await conversation(["Wann ist der Ausflug?", *prompts], [index]))
        assert text == f"{trip} [a.md]\n\n{QUOTES}"

    async def test_unread_files_whose_names_have_a_word_of_the_question_are_named_first(self, tmp_path: Path) -> None:
        files: dict[str, bytes | str] = {f"a{number}_txt": "" for number in range(6)}
        index = served(tmp_path, b_md="The shed code is 6161.", **files, z_certificate_pdf=b"%PDF-1.4 torn")
        text = text_of(await events_of("Who has the certificate?", [index]))
        assert "could not be read: z.certificate.pdf, a0.txt, a1.txt, a2.txt, a3.txt and 2 more." in text

    def test_files_that_are_still_being_read_are_counted_in_the_answer_and_in_the_result(self, tmp_path: Path) -> None:
        index = served(tmp_path, a_md="The shed code is 6161.")
        (tmp_path / "b.md").write_text("The gate code is 7731.")
        (tmp_path / "c.md").write_text("The door code is 1234.")
        turns: list[list[Event]] = []

        def ask(*_: object) -> None:
            turns.append(asyncio.run(events_of("What is the shed code?", [index])))

        index.refresh(ask)
        ask()
        said = "2 new or changed files are still being read, and not searched yet."
        assert [said in text_of(events) for events in turns] == [True, True, False]
        results = [cast("Any", event.result) for events in turns for event in events if isinstance(event, ToolResult)]
        assert [result.get("still_being_read") for result in results] == [2, 2, None]

    async def test_the_capital_of_a_german_noun_makes_it_no_name(self, tmp_path: Path) -> None:
        index = served(tmp_path, a_md="Die Bewerbung ist bis zum 15. Oktober zu senden. Der Beitrag beträgt 90 Euro.")
        text = text_of(await events_of("Wann endet die Einreichfrist für die Bewerbung?", [index]))
        assert text.startswith("Die Bewerbung ist bis zum 15. Oktober zu senden.")

    async def test_a_compound_is_found_by_its_last_part(self, tmp_path: Path) -> None:
        index = served(tmp_path, a_md="Der Jahresbeitrag beträgt 90 Euro. Beiträge sind im Mai fällig.", b_md="Ruhe!")
        text = text_of(await events_of("Wie hoch ist der Mitgliedsbeitrag?", [index]))
        assert text.startswith("Der Jahresbeitrag beträgt 90 Euro.")

    @pytest.mark.parametrize("prompt", ["hello", "?", ""])
    async def test_where_nothing_is_near_the_files_that_were_searched_are_named(
        self, examples: Index, prompt: str
    ) -> None:
        text = text_of(await events_of(prompt, [examples]))
        visit, storage, network = "besuch-in-port-asher.md", "hokan-to-yuso.md", "reseau-des-rivieres.txt"
        assert text.endswith(f"Searched: {REPORT}, {visit}, {HANDBOOK}, {storage}, {network} and 2 more.")

    async def test_what_is_shown_is_never_denied(self, tmp_path: Path) -> None:
        lease = served(
            tmp_path, lease_md="# Lease\n\n## Deposit\n\nThe tenant deposits three months' rent, EUR 29,664.\n"
        )
        for prompt in ("How much is the deposit?", "How much is the deposit of the lease?"):
            text = text_of(await events_of(prompt, [lease]))
            assert text.startswith("The tenant deposits three months' rent, EUR 29,664. [lease.md, Deposit]")
            assert "No file" not in text

    @pytest.mark.parametrize(
        "prompt",
        [
            "What is the total in invoice-2025-118.md?",
            "Compare the totals of invoice-2025-117.md and INVOICE-2025-118.MD",
            "What does the MD say about the total?",
            "What is in report_2024.txt?",
        ],
    )
    async def test_the_name_of_a_file_with_its_ending_is_no_word_that_the_files_lack(
        self, tmp_path: Path, prompt: str
    ) -> None:
        for number, total in ((117, "327.80"), (118, "471.00")):
            (tmp_path / f"invoice-2025-{number}.md").write_text(f"Total: {total}.")
        (tmp_path / "report_2024.txt").write_text("It rained.")
        text = text_of(await events_of(prompt, [open_index("idx-a", tmp_path)]))
        assert "No file" not in text
        assert ("It rained." in text) == ("report" in prompt)
        if "117" not in prompt and "118" in prompt:
            assert text.startswith("Total: 471.00. [invoice-2025-118.md]")

    async def test_the_name_of_a_file_that_there_is_not_is_said_to_be_missing(self, tmp_path: Path) -> None:
        (tmp_path / "invoice-2025-117.md").write_text("Total: 327.80.")
        index = open_index("idx-a", tmp_path)
        text = text_of(await events_of("What is the total in invoice-2025-999.md?", [index]))
        assert text.startswith("No file has the word “invoice-2025-999.md”. The nearest:\n\nTotal: 327.80.")

    async def test_a_question_of_whose_words_the_files_have_next_to_none_is_not_answered_as_if_they_had(
        self, tmp_path: Path
    ) -> None:
        index = served(tmp_path, a_md="Lamps carry interest of 1.5 % per month.", b_md="Erwachsene zahlen 264 Euro.")
        text = text_of(await events_of("How much is the adult membership of the rowing club per year?", [index]))
        assert text.startswith("No file has the words “much”, “adult”, “membership”, “rowing”, “club” or “year”. The")

    async def test_words_of_a_script_without_spaces_are_named_as_they_were_written(self, tmp_path: Path) -> None:
        index = served(tmp_path, a_txt="会議は毎週火曜日の午前十時に始まる。")
        text = text_of(await events_of("宇宙船、燃料", [index]))
        assert text.startswith("No file has the words “宇宙船” or “燃料”. Searched: a.txt.")

    async def test_files_that_could_not_be_read_are_named_where_nothing_fits(self, tmp_path: Path) -> None:
        index = served(tmp_path, a_md="Dogs are allowed.", b_pdf=b"%PDF-1.7 and nothing else")
        events = await events_of("What is the gate code?", [index])
        assert "Not searched, because they could not be read: b.pdf." in text_of(events)
        result = next(event for event in events if isinstance(event, ToolResult))
        assert cast("dict[str, Any]", result.result)["left_out"] == [
            {"file_name": "b.pdf", "reason": "it is damaged or not a PDF file"}
        ]

    @pytest.mark.parametrize(
        ("prompt", "phrase"),
        [
            ("Wie hoch ist die Kaution der Wohnung?", "Die Kaution beträgt drei Monatsmieten."),
            ("Quel est le prix des chambres ?", "Une chambre coûte 80 euros la nuit."),
            ("会議はいつ始まりますか", "会議は毎週火曜日の午前十時に始まる。"),
        ],
    )
    async def test_questions_are_answered_in_the_language_of_the_file(
        self, tmp_path: Path, prompt: str, phrase: str
    ) -> None:
        index = served(
            tmp_path,
            mietvertrag_txt="Die Kaution beträgt drei Monatsmieten. Die Wohnung liegt im zweiten Stock.",
            auberge_txt="Une chambre coûte 80 euros la nuit. Le petit déjeuner est servi à huit heures.",
            kaigi_txt="会議は毎週火曜日の午前十時に始まる。".encode("shift_jis"),
        )
        assert phrase in text_of(await events_of(prompt, [index])).partition("[")[0]

    async def test_the_best_passages_of_all_indexes_are_taken_together(self, examples: Index, tmp_path: Path) -> None:
        boats = served(tmp_path, boats_md="# Boats\n\nThe ferry to Ormsay carries 40 cars.\n")
        for order in ([examples, boats], [boats, examples]):
            assert "40 cars" in text_of(await events_of("How many cars does the ferry carry?", order))
            assert "23.7" in text_of(await events_of("What was the revenue in Q3 2025?", order))

    async def test_without_an_index_it_says_so(self) -> None:
        text = text_of(await events_of("What was the revenue?", []))
        assert text == "Nothing was searched: none of the indexes of this session can be."

    async def test_an_agent_that_may_retrieve_nothing_is_refused(self) -> None:
        with pytest.raises(ValueError, match="passages must be at least 1, not 0"):
            LocalAgent(passages=0)


@pytest.mark.parametrize(
    "prompt",
    [
        "You are a helpful assistant. Answer in one sentence.\nQuestion: How long is the warranty?",
        "Context: none\nTask: “Find” how long the warranty is.",
    ],
)
async def test_the_first_word_of_a_line_or_a_sentence_is_no_name_that_is_missed(examples: Index, prompt: str) -> None:
    assert "No file" not in text_of(await events_of(prompt, [examples]))


async def test_a_name_within_a_sentence_that_no_file_has_is_told(examples: Index) -> None:
    text = text_of(await events_of("Answer briefly. Does the warranty hold on Mars?", [examples]))
    assert text.startswith("No file has the word “Mars”.")


async def test_a_question_that_stands_by_itself_is_not_searched_with_the_one_before(examples: Index) -> None:
    before = (UserInput(content="Who leads at severity 1?"),)
    for prompt, query in {
        "How long is the warranty of a gauge in salt water?": "How long is the warranty of a gauge in salt water?",
        "And at severity 2?": "And at severity 2? Who leads at severity 1?",
    }.items():
        events = await events_of(prompt, [examples], history=before)
        call = next(event for event in events if isinstance(event, ToolCall))
        assert cast("dict[str, Any]", call.arguments)["query"] == query


_WORDS = sorted(set(" ".join(case[0] for case in QUOTED).split()))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(prompt=st.one_of(st.text(max_size=80), st.lists(st.sampled_from(_WORDS), max_size=12).map(" ".join)))
def test_whatever_is_asked_every_quoted_sentence_is_in_a_file(examples: Index, prompt: str) -> None:
    turn = asyncio.run(events_of(prompt, [examples]))
    found = cast("dict[str, Any]", next(event for event in turn if isinstance(event, ToolResult)).result)
    passages = " ".join(" ".join(item["content"].split()) for item in found["results"])
    for part in text_of(turn).split("\n\n"):
        if part.startswith(("No ", "Quoted from", "[")):
            continue
        for line in re.sub(r" \[[^\[\]]+\]\Z", "", part).splitlines():
            for piece in filter(str.strip, line.split("…")):
                assert " ".join(piece.split()).strip("| ") in passages


class TestEvents:
    async def test_a_turn_thinks_retrieves_reads_the_page_answers_and_stops(self, examples: Index) -> None:
        events = await events_of("What was the revenue in Q3 2025?", [examples])
        kinds = [event.type for event in events if not isinstance(event, ThinkingDelta | TextDelta)]
        assert kinds == ["thinking", "tool_call", "tool_result", "tool_call", "tool_result", "text", "stop"]

    async def test_deltas_join_to_the_segment_that_follows_them(self, examples: Index) -> None:
        deltas = ""
        for event in await events_of("What is the equity ratio?", [examples]):
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
        events = await events_of("What was the operating margin in Q3 2025?", [examples])
        (*_, call) = (event for event in events if isinstance(event, ToolCall))
        (*_, result) = (event for event in events if isinstance(event, ToolResult))
        (report,) = (document for document in examples.documents if document.name == REPORT)
        page = examples.page(report.file_id, 3)
        assert page is not None
        assert (call.name, call.arguments) == ("read", {"file_id": report.file_id, "page": 3})
        assert result.result == {"content": page.text}
        assert result.image_attachment is not None
        assert result.image_attachment.attachment_name in (examples.attachments(report.file_id) or [])

    async def test_a_text_without_pages_is_answered_from_its_passage(self, examples: Index) -> None:
        events = await events_of("What does quality code 7 mean?", [examples])
        assert [event.name for event in events if isinstance(event, ToolCall)] == ["retrieve"]

    async def test_call_ids_are_unique_in_a_session(self, examples: Index) -> None:
        first = await events_of("What was the revenue in Q3 2025?", [examples])
        history = [UserInput(content="What was the revenue in Q3 2025?"), *first]
        second = await events_of("And the operating margin?", [examples], history)
        ids = [event.call_id for event in (*first, *second) if isinstance(event, ToolCall)]
        assert ids == ["call_1", "call_2", "call_3", "call_4"]

    async def test_usage_counts_words_and_rounds(self, examples: Index) -> None:
        events = await events_of("What was the revenue in Q3 2025?", [examples])
        stop = events[-1]
        assert isinstance(stop, Stop)
        assert not stop.is_error
        assert stop.usage.turns == 3
        assert stop.usage.input_tokens is not None
        assert stop.usage.input_tokens > 300
        said = " ".join(event.content for event in events if isinstance(event, Thinking | Text))
        assert stop.usage.output_tokens == len(said.split())
        assert stop.usage.duration_ms is not None
        assert stop.usage.duration_ms > 0

    async def test_the_first_event_leaves_before_anything_is_searched(
        self, examples: Index, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> list[Any]:
            raise AssertionError("searched too early")

        monkeypatch.setattr(examples, "search", refuse)
        answer = LocalAgent().run(AgentTurn("ses-1", "What is the wind speed?", [examples], []))
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
