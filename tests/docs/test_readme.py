"""What the README claims is held by tests.

A claim is quoted as far as it is needed to find it; `*` stands for all tests of a file.
"""

# ruff: noqa: E501 (a row is a line)
from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLAIMS: list[tuple[str, str]] = [
    ("makes a hosted chat session a **LlamaIndex chat engine**", "tests/docs/test_docs.py::test_the_code_of_the_page_runs"),
    ("asks example documents a question: no key, no model", "tests/cli/commands/test_demo.py::*"),
    ("need Python 3.11 or later and `make`", "tests/docs/test_paths.py::test_every_make_target_that_the_page_names_exists"),
    ("pip install '.[llama-index,langchain,server,cli,web]'", "scripts/release_check.py::check"),
    ("## A first answer, without a key", "tests/docs/test_docs.py::test_the_way_to_a_first_answer_needs_no_key_in_each_framework"),
    ("it finds the passages that fit and quotes them", "tests/server/agents/test_local_agent.py::*"),
    ("one session, two frameworks", "tests/docs/test_docs.py::test_the_code_of_the_page_runs"),
    ("opens [a page](docs/web.md) over your files", "tests/cli/commands/test_ui.py::*"),
    ("Tokens arrive as the service writes them", "tests/session/streams/test_turn_stream.py::test_the_first_event_is_here_before_the_second_is_sent"),
    ("in both frameworks, the client, the shell and the page, sync and async", "tests/faults/test_adapters.py::test_a_turn_cut_around_each_event_is_whole_through_each_entry_point"),
    ("**You see the remote tools.** Each tool run is a trace in your framework's callbacks", "tests/llama_index/test_trace_contents.py::*"),
    ("file, page, score, page image", "tests/test_local_server.py::test_a_question_about_page_3_of_a_pdf_has_that_page_as_its_source_and_a_screenshot_that_opens"),
    ("A prompt is sent once", "tests/faults/test_simulated.py::test_any_faults_on_any_service_are_told_truly_and_no_prompt_is_sent_twice"),
    ("A stream that breaks is looked up in its session", "tests/session/streams/test_broken_streams.py::test_a_stream_that_ends_without_stop_is_finished_from_the_session"),
    ("or a precise error: failed, interrupted, stalled, or unknown", "tests/faults/test_faults.py::test_each_fault_that_no_client_can_mend_is_the_error_that_says_so"),
    ("A session is yours by its id", "tests/test_local_server.py::test_a_session_is_the_same_from_another_client_sync_or_async"),
    ("and the command line", "tests/cli/commands/test_names.py::test_a_session_of_another_service_is_found_by_its_beginning"),
]  # fmt: skip


def plain(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(("quoted", "test"), CLAIMS, ids=[quoted for quoted, _ in CLAIMS])
def test_the_readme_says_it_and_the_test_is_there(quoted: str, test: str) -> None:
    assert plain(quoted) in plain((ROOT / "README.md").read_text())
    file, _, name = test.partition("::")
    assert name == "*" or re.search(rf"def {name}\(", (ROOT / file).read_text()), test
    assert (ROOT / file).exists(), file


def test_every_promise_of_the_readme_has_a_test() -> None:
    promises = re.findall(r"^- \*\*(.*?)\*\*", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(promises) == 4
    assert [text for text in promises if not any(text.rstrip(".") in quoted for quoted, _ in CLAIMS)] == []
