"""The comparison: its page is what its command wrote, and what the page says of this package is so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import get_args

import pytest
from benchmarks.comparison.__main__ import main
from benchmarks.comparison.cases import ANSWER, CASES, CUT_AT, Case, pieces
from benchmarks.comparison.clients import CLIENTS, Client
from benchmarks.comparison.outcomes import Kind, Outcome, Saw, judge
from benchmarks.comparison.page import PAGE, Results, cell, insert, render
from benchmarks.comparison.runs import ComparisonError, Deadlines, Table, run
from benchmarks.comparison.stages import Seen
from benchmarks.comparison.worker import FILLED

pytestmark = pytest.mark.timeout(300)

# A 503 is treated as a 500 is, and each costs three seconds of looking.
LIVE = [case for case in CASES if not case.name.startswith("503")]
OURS = [client for client in CLIENTS if client.ours]
# Short where a deadline has to pass, and long where it must not.
HASTY = Deadlines(silent=0.5, patient=30, hangs=60, hangs_patient=90, pause=0.1)

ERRORS = {
    "409, the prompt not taken": "ConflictError",
    "500, the prompt not taken": "InternalServerError",
    "200 with an HTML page": "ProtocolError",
    "a stream that says it is `application/json`": "ProtocolError",
    "silence with keep-alives, agent dead": "TurnStalled",
    "restart, the turn is lost": "TurnFailed",
    "an event of 17 MiB": "ProtocolError",
}
# A piece that was shown is not taken back: only a text at the end can be right.
SHOWN: Mapping[str, Kind] = {"a piece of text twice": "doubled", "bad UTF-8 in a piece of text": "altered"}


def case_of(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


@pytest.fixture(scope="module")
def table() -> Table:
    return run(OURS, cases=LIVE, deadlines=HASTY, jobs=len(OURS))


@pytest.mark.parametrize("client", OURS, ids=lambda client: client.name)
def test_each_fault_gives_the_whole_answer_once_or_the_error_that_is_true(client: Client, table: Table) -> None:
    expected: dict[str, tuple[str, str | None]] = {}
    for case in LIVE:
        kind: Kind = "error" if case.name in ERRORS else "whole"
        if case.name in SHOWN:
            kind = SHOWN[case.name] if client.name == "`SessionChatModel`" else "corrected"
        error = ERRORS.get(case.name)
        expected[case.name] = (kind, None if error is None else f"chat_sessions.{error}")
    assert {name: (outcome.kind, outcome.error) for name, outcome in table[client.name].items()} == expected


@pytest.mark.parametrize("client", OURS, ids=lambda client: client.name)
def test_a_prompt_is_posted_once_unless_it_was_refused_for_now_and_never_answered_twice(
    client: Client, table: Table
) -> None:
    posts = {name: outcome.posts for name, outcome in table[client.name].items()}
    assert {name: count for name, count in posts.items() if count != 1} == {"429 with `Retry-After: 1`": 2}
    assert max(outcome.answers for outcome in table[client.name].values()) == 1


@pytest.mark.parametrize("client", OURS, ids=lambda client: client.name)
def test_what_was_shown_before_an_error_is_a_true_beginning(client: Client, table: Table) -> None:
    failed = {name: outcome for name, outcome in table[client.name].items() if outcome.kind == "error"}
    assert {name for name, outcome in failed.items() if not outcome.true_beginning} == set()


@pytest.mark.parametrize(
    "client", [client for client in CLIENTS if client.is_installed and not client.ours], ids=lambda client: client.name
)
def test_where_nothing_goes_wrong_every_client_reads_the_answer(client: Client) -> None:
    outcome = run([client], cases=CASES[:1], deadlines=HASTY)[client.name][CASES[0].name]
    assert (outcome.kind, outcome.posts, outcome.answers) == ("whole", 1, 1)


def test_a_client_that_trusts_the_end_of_the_body_and_counts_bytes_is_found_out() -> None:
    client = next(client for client in CLIENTS if client.name == "httpx-sse")
    cases = [case_of("clean end of the body, agent still at work"), case_of("silence with keep-alives")]
    # It is to hang, so nothing depends on this being long.
    column = run([client], cases=cases, deadlines=Deadlines(silent=0.5, hangs=2, pause=0.1))[client.name]
    assert [outcome.kind for outcome in column.values()] == ["cut short", "hangs"]


WORDS = pieces(ANSWER)


@pytest.mark.parametrize(
    ("shown", "text", "kind"),
    [
        (ANSWER, None, "whole"),
        (ANSWER, ANSWER, "whole"),
        (ANSWER, ANSWER[:-1], "altered"),
        (ANSWER + "x", ANSWER, "corrected"),
        ("", None, "empty"),
        (ANSWER[:9], None, "cut short"),
        ("".join([*WORDS[: CUT_AT + 1], *WORDS[CUT_AT:]]), None, "doubled"),
        (FILLED + ANSWER, None, "swallowed"),
        (ANSWER.replace("m", "n"), None, "altered"),
    ],
)
def test_what_a_reader_got_is_judged_by_the_text_alone(shown: str, text: str | None, kind: Kind) -> None:
    saw = Saw(shown=shown, text=text, error=None, message=None, warning=None, spread=0.0)
    assert judge(CASES[0], saw, Seen(1, 1), pause=1).kind == kind


def test_an_error_is_named_with_its_package_unless_it_is_the_clients_own() -> None:
    sdk = next(client for client in CLIENTS if client.root == "llama_cloud")
    named = {
        "llama_cloud._exceptions.APITimeoutError": "`APITimeoutError`",
        "httpx.ReadTimeout": "`httpx.ReadTimeout`",
        "json.decoder.JSONDecodeError": "`json.JSONDecodeError`",
        "builtins.ValueError": "`ValueError`",
    }
    for name, shown in named.items():
        saw = Saw(shown="", text=None, error=name, message="", warning=None, spread=0.0)
        assert cell(sdk, judge(CASES[0], saw, Seen(1, 1), pause=1)) == shown


@pytest.mark.parametrize(
    ("outcome", "service", "words"),
    [
        (Outcome("whole", 1, 1), "Chat API", "whole"),
        (Outcome("whole", 2, 1), "Chat API", "whole, 2 POSTs"),
        (Outcome("whole", 3, 2), "Chat API", "whole, 3 POSTs, **2 turns**"),
        (Outcome("whole", 2, 2), "OpenAI", "whole, 2 POSTs, 2 completions"),
        (Outcome("cut short", 1, 1, warned=True), "LangGraph", "**cut short**, a warning"),
        (Outcome("hangs", 1, 1), "LangGraph", "**hangs**"),
        (Outcome("swallowed", 1, 1), "OpenAI", "taken"),
    ],
)
def test_a_cell_is_bold_where_no_error_tells_the_reader(outcome: Outcome, service: str, words: str) -> None:
    client = next(client for client in CLIENTS if client.service == service)
    assert cell(client, outcome) == words


def test_the_page_is_what_the_command_makes_of_its_results() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert insert(page, render(Results.load())) == page


def test_the_results_have_every_case_of_every_client_and_the_versions_of_all() -> None:
    results = Results.load()
    assert list(results.table) == [client.name for client in CLIENTS]
    for client in CLIENTS:
        assert list(results.table[client.name]) == [case.name for case in CASES if client.service in case.services]
        assert {outcome.kind for outcome in results.table[client.name].values()} <= set(get_args(Kind))
        assert set(client.packages) <= set(results.versions)
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"{package} {version}" in page for package, version in results.versions.items())


def test_what_the_page_says_of_this_package_is_what_the_tests_see(table: Table) -> None:
    recorded = Results.load().table
    for client in OURS:
        for name, outcome in table[client.name].items():
            assert (name, cell(client, recorded[client.name][name])) == (name, cell(client, outcome))


def test_a_page_without_a_place_for_the_results_is_left_alone() -> None:
    with pytest.raises(ComparisonError, match="no place for the results"):
        insert("# A page\n", "tables")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--client", "nobody"], "nothing has such a name"),
        (["--case", "nothing like that"], "nothing has such a name"),
        (["--jobs", "0"], "--jobs is 1 or more"),
    ],
)
def test_a_wrong_argument_is_refused_in_a_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert re.search(f"error: .*{re.escape(says)}", capsys.readouterr().err)
