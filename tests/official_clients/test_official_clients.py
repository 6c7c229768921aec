"""The released clients of the service work against the local server as they are.

Each client runs once, in an environment of its own, and reports what it saw. The Python clients
refuse every answer that does not fit their types (`_strict_response_validation`), so that a
report of theirs is itself a proof of the answers' schema.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from tests.official_clients.clients import CLIENTS, OfficialClient, Report

# The time that a first installation may take.
pytestmark = [pytest.mark.official, pytest.mark.timeout(600)]

INDEX_IDS = ["idx-report", "idx-handbook"]
QUESTION = "What was the revenue in the third quarter of 2025?"


def of_clients(fits: Callable[[OfficialClient], bool] = lambda _client: True) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("client", [client for client in CLIENTS if fits(client)], ids=str)


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def class_name(event_type: str) -> str:
    """`text_delta` is an `EventTextDeltaEvent` to the Python clients."""
    return f"Event{event_type.title().replace('_', '')}Event"


def events_of(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


# Sessions


@of_clients()
def test_a_created_session_is_bound_to_its_indexes_and_has_no_events(report: Report) -> None:
    seen = report["sessions"]
    assert seen["created"]["session_id"].startswith("ses-")
    assert seen["created"]["index_ids"] == INDEX_IDS
    assert seen["created"]["generated_title"] is None
    assert seen["whole"] == {**seen["created"], "events": []}


@of_clients()
def test_a_session_can_be_created_without_any_argument(report: Report) -> None:
    assert report["sessions"]["unbound"]["index_ids"] is None


@of_clients()
def test_the_summary_of_a_new_session_is_what_creating_it_gave(report: Report) -> None:
    assert report["sessions"]["summary"] == report["sessions"]["created"]


@of_clients()
def test_a_deleted_session_is_not_found_afterwards(report: Report) -> None:
    seen = report["sessions"]
    assert seen["deleted"] is None
    assert (seen["afterwards"]["class"], seen["afterwards"]["status"]) == ("NotFoundError", 404)


@of_clients(lambda client: client.has_shared_access)
def test_shared_access_is_as_asked_for_and_never_empty(report: Report) -> None:
    assert report["shared_access"]["given"] == "query"
    assert report["shared_access"]["default"] in ("query", "read_only")


@of_clients()
def test_a_title_is_made_from_the_first_message(report: Report) -> None:
    # With set_title where the client has it, as a request of its own making elsewhere.
    assert report["title"]["titled"]["generated_title"] == QUESTION
    assert report["title"]["summary"]["generated_title"] == QUESTION


# Pages


@of_clients()
def test_the_clients_iterator_visits_every_session_once_the_newest_first(report: Report) -> None:
    assert report["listing"]["listed"] == report["listing"]["made"][::-1]


@of_clients()
def test_the_clients_pages_are_of_the_size_asked_for_and_the_last_has_no_token(report: Report) -> None:
    assert report["listing"]["sizes"] == [2, 2, 1]
    assert not report["listing"]["last_token"]


# Turns


@of_clients()
def test_the_recipe_of_the_guide_reads_a_whole_turn(report: Report) -> None:
    lines: list[str] = report["turn"]["lines"]
    assert {line.partition(":")[0] for line in lines} == {"event", "data", ""}
    assert {line for line in lines if line.startswith("event")} == {"event: delta", "event: message"}
    events = events_of(lines)
    assert types(events)[-2:] == ["text", "stop"]
    assert {"thinking_delta", "thinking", "tool_call", "tool_result"} <= set(types(events))
    shown = "".join(event["content"] for event in events if event["type"] == "text_delta")
    assert shown == events[-2]["content"]
    assert "23.7" in shown
    assert "page 3" in shown


@of_clients()
def test_the_history_is_the_prompt_and_then_what_was_streamed(report: Report) -> None:
    streamed = [event for event in events_of(report["turn"]["lines"]) if not event["type"].endswith("_delta")]
    prompt, *history = report["turn"]["history"]
    assert prompt == {"type": "user_input", "content": QUESTION}
    assert history == streamed


@of_clients(lambda client: client.is_python)
def test_the_history_comes_as_the_clients_own_types(report: Report) -> None:
    classes = report["turn"]["classes"]
    assert [name for _, name in classes] == [class_name(event_type) for event_type, _ in classes]
    assert {event_type for event_type, _ in classes} == {
        *("user_input", "thinking", "tool_call", "tool_result", "text", "stop"),
    }


@of_clients()
def test_the_summary_tells_the_usage_of_the_last_turn_and_a_title(report: Report) -> None:
    summary, stop = report["turn"]["summary"], report["turn"]["history"][-1]
    assert {name: summary["job_metadata"][name] for name in stop["usage"]} == stop["usage"]
    assert stop["usage"]["total_output_tokens"] > 0
    assert summary["job_metadata"]["is_error"] is False
    assert summary["generated_title"] == QUESTION


@of_clients()
def test_a_plain_call_gives_the_stream_as_one_text(report: Report) -> None:
    events = events_of(report["buffered"].split("\r\n"))
    assert types(events) == types(events_of(report["turn"]["lines"]))


@of_clients(lambda client: client.is_python)
def test_the_clients_stream_class_yields_every_event_and_types_each(report: Report) -> None:
    seen = report["event_stream"]
    assert types(seen["events"]) == types(events_of(report["turn"]["lines"]))
    assert [event_type for event_type, _ in seen["classes"]] == types(seen["events"])
    assert [name for _, name in seen["classes"]] == [class_name(event_type) for event_type in types(seen["events"])]


@of_clients(lambda client: client.is_python)
def test_a_line_separator_within_the_text_breaks_no_event_of_the_clients_stream_class(report: Report) -> None:
    assert report["event_stream"]["with_separator"][-2] == {"type": "text", "content": "Released,\u2028all of it."}


@of_clients()
def test_the_first_event_arrives_while_the_answer_is_held_back(report: Report) -> None:
    # The agent goes on only when another session asks for it, which the client does with the first event in hand.
    events = report["held"]["events"]
    assert types(events) == ["text_delta", "text_delta", "text", "stop"]
    assert events[-1]["is_error"] is False


@of_clients()
def test_an_index_that_is_not_there_is_left_out_and_named_at_the_stop(report: Report) -> None:
    stop = report["missing_index"]["skipped"]
    assert (stop["is_error"], stop["skipped_index_ids"]) == (False, ["idx-gone"])


@of_clients(lambda client: client.has_shared_access)
def test_a_turn_that_requires_all_its_indexes_fails_without_one(report: Report) -> None:
    stop = report["missing_index"]["required"]
    assert (stop["is_error"], stop["skipped_index_ids"]) == (True, ["idx-gone"])
    assert "idx-gone" in stop["error"]


# Errors


@of_clients()
@pytest.mark.parametrize("call", ["wrong_key", "wrong_key_in_stream"])
def test_a_wrong_key_is_the_clients_authentication_error(report: Report, call: str) -> None:
    seen = report["refusals"][call]
    assert (seen["class"], seen["status"]) == ("AuthenticationError", 401)
    assert isinstance(seen["body"]["detail"], str)


@of_clients()
@pytest.mark.parametrize("call", ["unknown_session", "unknown_session_in_stream", "unknown_session_in_delete"])
def test_an_unknown_session_is_the_clients_not_found_error(report: Report, call: str) -> None:
    seen = report["refusals"][call]
    assert (seen["class"], seen["status"]) == ("NotFoundError", 404)
    assert "ses-unknown" in seen["body"]["detail"]


@of_clients()
@pytest.mark.parametrize(
    ("call", "where"),
    [
        ("empty_prompt", ["body", "prompt"]),
        ("long_prompt", ["body", "prompt"]),
        ("no_index", ["body", "index_ids"]),
        ("eleven_indexes", ["body", "index_ids"]),
        ("locked_sources", ["body", "index_ids"]),
        ("page_size", ["query", "page_size"]),
    ],
)
def test_what_the_api_does_not_accept_is_the_clients_validation_error(
    report: Report, call: str, where: list[str]
) -> None:
    seen = report["refusals"][call]
    assert (seen["class"], seen["status"]) == ("UnprocessableEntityError", 422)
    (problem,) = seen["body"]["detail"]
    assert problem["loc"] == where
    assert problem.keys() >= {"msg", "type"}


@of_clients()
def test_a_message_to_a_session_that_is_answering_is_the_clients_conflict_error(report: Report) -> None:
    seen = report["held"]["conflict"]
    assert (seen["class"], seen["status"]) == ("ConflictError", 409)


# Attachments


@of_clients(lambda client: client.is_python and not client.has_set_title)
def test_the_clients_iterator_visits_the_images_of_all_pages(report: Report) -> None:
    listed = report["attachments"]["listed"]
    assert [item["name"] for item in listed] == [f"screenshots/page_{number}.jpg" for number in range(1, 13)]
    assert all(item["size"] > 0 for item in listed)


@of_clients()
def test_the_image_of_the_page_that_answers_opens_by_its_link_without_a_key(report: Report) -> None:
    # The clients write the slash in the name as %2F.
    assert report["attachments"]["name"] == "screenshots/page_3.jpg"
    assert report["attachments"]["opened"] == {"status": 200, "type": "image/jpeg", "starts": "ffd8ff"}
    assert datetime.fromisoformat(report["attachments"]["expires_at"]).tzinfo is not None


@of_clients()
def test_an_unknown_attachment_is_the_clients_not_found_error(report: Report) -> None:
    seen = report["attachments"]["unknown"]
    assert (seen["class"], seen["status"]) == ("NotFoundError", 404)
