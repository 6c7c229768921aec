"""The benchmarks measure what they say; how fast anything is, is no business of the tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
from benchmarks import floors, langchain, llama_index, ours, page, tokens
from benchmarks.__main__ import main
from benchmarks.measure import Costs, Job, WrongText, check, jobs_of, measure, read
from benchmarks.replay import Replay
from benchmarks.row import at_least, at_most, table
from benchmarks.subject import Bench, Subject

SUBJECTS = (
    floors.SOCKET,
    floors.T,
    ours.CLIENT,
    langchain.L,
    langchain.STOCK_MODEL,
    langchain.STOCK_EVENTS,
    langchain.CHAT_MODEL,
    langchain.CHAT_MODEL_HANDLER,
    langchain.CHAT_MODEL_EVENTS,
    llama_index.ENGINE,
    llama_index.ENGINE_HANDLER,
    llama_index.STOCK_RESPONSE,
)
COUNT = 300


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


@pytest.fixture(scope="module")
def bench(runner: asyncio.Runner) -> Iterator[Bench]:
    with Replay() as replay:
        made = Bench(replay.url)
        yield made
        runner.run(made.aclose())


@pytest.mark.parametrize("framing", ["chunk", "write", "co16", "mixed"])
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_every_surface_gives_the_text_that_was_sent(
    subject: Subject, framing: str, bench: Bench, runner: asyncio.Runner
) -> None:
    for job in jobs_of(subject, framing, COUNT):
        _, pieces = read(bench, runner, job)

        check(job, pieces)


def _leaves_one_out(bench: Bench, plan: str) -> Iterator[str]:
    pieces = floors.read(bench, plan)
    next(pieces)
    yield from pieces


async def _leaves_one_out_async(bench: Bench, plan: str) -> AsyncIterator[str]:
    pieces = floors.read_async(bench, plan)
    await anext(pieces)
    async for piece in pieces:
        yield piece


@pytest.mark.parametrize("is_async", [False, True])
def test_a_reader_that_leaves_something_out_is_not_measured(
    is_async: bool, bench: Bench, runner: asyncio.Runner
) -> None:
    cheat = Subject("cheat", __name__, _leaves_one_out, _leaves_one_out_async, "a reader that skips")

    with pytest.raises(WrongText, match="cheat gave another text"):
        measure(bench, runner, {Job(cheat, is_async, "chunk", COUNT): 1})


def test_the_short_form_prints_each_goal_with_its_figure_and_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.__main__._SHORT_EVENTS", COUNT)
    monkeypatch.setattr("benchmarks.__main__._SHORT_REPEATS", 1)
    # How fast this machine is now does not matter here.
    monkeypatch.setattr("benchmarks.__main__._GROSS", float("inf"))

    code = main(["--short"])

    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if "≤" in line]
    assert code == 0
    assert {group for group in tokens.GROUPS if any(_title(group) in line for line in lines)} == set(tokens.GROUPS)
    assert all(line.endswith(("pass", "MISS")) for line in lines)


def _title(group: str) -> str:
    return {
        "client": "client stream(), async",
        "langchain": "SessionChatModel.stream, one handler, async",
        "events": "SessionChatModel.astream_events(v2), async",
        "llama_index": "SessionChatEngine.stream_chat, async",
    }[group]


def test_the_short_form_fails_on_a_gross_regression_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(bench: Bench, runner: asyncio.Runner, jobs: dict[Job, int]) -> Costs:
        return Costs({job: [10.0] for job in jobs})

    monkeypatch.setattr("benchmarks.__main__.measure", measured)

    assert main(["--short"]) == 1
    told = capsys.readouterr()
    assert told.err.count("gross regression") == 2
    assert "client stream(), sync, one chunk per event is 3.3 times its limit" in told.err
    # The engine's limit is 4, the chat model's 5: over it a little is a miss, and no more.
    assert "MISS" in told.out
    assert "pass" in told.out


def test_each_job_runs_as_often_as_it_says(bench: Bench, runner: asyncio.Runner) -> None:
    often, once = Job(floors.T, False, "chunk", COUNT), Job(floors.T, True, "chunk", COUNT)

    costs = measure(bench, runner, {often: 3, once: 1})

    assert {job: len(samples) for job, samples in costs.samples.items()} == {often: 3, once: 1}


def test_a_goal_on_several_floors_adds_them_up() -> None:
    def cost(subject: Subject) -> float:
        return {floors.T: 10.0, langchain.L: 20.0, langchain.CHAT_MODEL_HANDLER: 25.5}.get(subject, 1.0)

    jobs = tokens.jobs({"langchain"}, COUNT, 1, extent="goals")
    rows = tokens.rows(Costs({job: [cost(job.subject)] for job in jobs}), Costs(), {"langchain"}, COUNT, extent="goals")

    row = next(row for row in rows if row.goal == "≤ T + 0.75 L")
    assert (row.limit, row.figure, row.verdict) == (25.0, 25.5, "MISS")
    beside = next(row for row in rows if row.goal == "≤ ChatOpenAI / 6")
    assert (beside.figure, beside.limit, beside.verdict, beside.note) == (None, None, "-", "peer not run")


def test_the_median_is_the_figure() -> None:
    job = Job(ours.CLIENT, False, "chunk", COUNT)

    assert Costs({job: [9.0, 1.0, 2.0]}).of(ours.CLIENT, "chunk", COUNT, is_async=False) == 2.0
    assert Costs().of(ours.CLIENT, "chunk", COUNT, is_async=False) is None


def test_a_goal_may_be_a_floor_or_a_ceiling() -> None:
    ceiling = at_most("g", "s", "≤ 10", 12, 10, "µs")
    floor = at_least("g", "s", "≥ 10", 12, 10, "/s")

    assert (ceiling.verdict, floor.verdict) == ("MISS", "pass")
    assert (ceiling.excess, floor.excess) == (1.2, 10 / 12)
    assert replace(ceiling, limit=None).verdict == "-"


def test_the_table_has_a_line_for_each_row_and_its_columns_are_aligned() -> None:
    rows = [at_most("g", "short", "≤ 10 µs", 9.87, 10, "µs"), at_least("g", "a longer one", "", 25000.4, None, "/s")]

    header, _, first, second = table(rows).splitlines()

    assert header.split() == ["surface", "goal", "limit", "figure", "unit"]
    assert first.split() == ["short", "≤", "10", "µs", "10.0", "9.87", "µs", "pass"]
    assert second.split() == ["a", "longer", "one", "-", "25,000", "/s", "-"]
    assert header.index("figure") + len("figure") == first.index("9.87") + 4 == second.index("25,000") + 6


@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_the_tables_of_the_page_are_replaced_and_nothing_else_is(python: str) -> None:
    written = page.with_tables(page.PAGE.read_text(), "12.3 µs, once", python)

    again = page.with_tables(written, "12.3 µs, again", python)

    assert again == written.replace("12.3 µs, once", "12.3 µs, again")
    assert again.count("```text\n12.3 µs, again\n```") == 1
    assert again.startswith("# What a token costs\n")


def test_a_page_without_a_place_for_the_tables_is_not_written() -> None:
    with pytest.raises(ValueError, match="no place for the tables"):
        page.with_tables("# Another page\n", "tables")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rows", "clients"], "no rows clients; there are client, langchain"),
        (["--events", "0"], "'0' is not a number of 1 or more"),
        (["--write", "--rows", "client"], "argument --rows: not allowed with argument --write"),
        (["--write", "--no-peers"], "--write takes a run with the peers"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_is_measured(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert told in capsys.readouterr().err
