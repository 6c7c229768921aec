"""Events are read leniently where the service may grow, and strictly where a turn would go wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from pydantic import JsonValue

from chat_sessions.core.errors import ProtocolError
from chat_sessions.core.events import (
    EventReader,
    Session,
    Stop,
    Text,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    UnknownEvent,
    dump_event,
    parse_event,
    parse_event_json,
)
from chat_sessions.core.models import ImageAttachment, SessionSummary, Usage
from tests.core.turns import Told, told_turns


@given(told_turns())
def test_a_dumped_event_is_read_back_as_itself(told: Told) -> None:
    assert tuple(parse_event(dump_event(event)) for event in told.told) == told.told


def test_an_event_keeps_the_fields_that_this_version_does_not_know() -> None:
    event = parse_event_json('{"type": "text", "content": "hi", "lang": "en"}')
    assert dump_event(event) == {"type": "text", "content": "hi", "lang": "en"}


def test_an_unknown_type_is_passed_through_whole() -> None:
    body = {"type": "plan", "steps": [1, 2]}
    event = parse_event(body)  # type: ignore[arg-type]
    assert (event, event.type) == (UnknownEvent(raw=body), "plan")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"call_id": "1", "name": "t", "arguments": {}}, ToolCall(call_id="1", name="t", arguments={})),
        ({"type": None, "call_id": "1", "name": "t", "result": 2}, ToolResult(call_id="1", name="t", result=2)),
        ({"usage": {}, "is_error": False, "error": None}, Stop(usage=Usage(), is_error=False)),
    ],
)
def test_an_event_without_type_is_known_by_fields_that_only_it_has(body: dict[str, object], expected: object) -> None:
    assert parse_event(body) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [7, [], {"a": 1}, True])
def test_a_type_that_is_no_name_is_unknown(kind: JsonValue) -> None:
    assert parse_event({"type": kind, "content": "hi"}).type == "unknown"


def test_an_event_without_type_that_could_be_any_of_five_is_unknown() -> None:
    event = parse_event({"content": "hi"})
    assert isinstance(event, UnknownEvent)
    assert event.type == "unknown"


def test_a_known_type_with_a_broken_body_is_an_error_that_quotes_it() -> None:
    with pytest.raises(
        ProtocolError, match=r"tool_call event with a broken body.*arguments.*'\{\"type\": \"tool_call\"'?"
    ):
        parse_event_json('{"type": "tool_call", "call_id": "1", "name": "t"}')


@pytest.mark.parametrize("data", ["{", b"\xff\xfe\x00", "nope"])
def test_what_is_not_json_is_an_error_that_quotes_it(data: str | bytes) -> None:
    with pytest.raises(ProtocolError, match="not JSON"):
        parse_event_json(data)


def test_json_that_is_no_object_is_an_error() -> None:
    with pytest.raises(ProtocolError, match=r"not a JSON object: '\[1, 2\]'"):
        parse_event_json("[1, 2]")


def test_a_long_event_is_quoted_shortened() -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_event_json("x" * 10_000)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("kind", ["tool_result", "of_tomorrow"])
@pytest.mark.parametrize("depth", [400, 1500, 100_000])
def test_an_event_that_is_nested_too_deep_is_a_protocol_error(kind: str, depth: int) -> None:
    data = f'{{"type": "{kind}", "call_id": "c", "name": "t", "result": {"[" * depth}{"]" * depth}}}'
    with pytest.raises(ProtocolError, match=kind) as caught:
        parse_event_json(data)
    assert len(str(caught.value)) < 5000


def test_half_of_a_surrogate_pair_becomes_the_replacement_character() -> None:
    assert parse_event_json('{"type": "text_delta", "content": "a\\ud83d"}') == TextDelta(content="a\ufffd")
    event = parse_event_json('{"type": "tool_result", "call_id": "1", "name": "t", "result": [{"k\\udc00": 1.5}]}')
    assert isinstance(event, ToolResult)
    assert event.result == [{"k\ufffd": 1.5}]


@pytest.mark.parametrize("kind", ["text_delta", "thinking_delta"])
def test_a_character_that_is_cut_in_two_is_whole_in_the_second_delta(kind: str) -> None:
    reader = EventReader()
    units = [r"a", r"\ud83d", r"\ude00\ud83d", r"\ude01", "b"]
    deltas = [reader.read(f'{{"type": "{kind}", "content": "{unit}"}}'.encode()) for unit in units]
    assert [delta.content for delta in deltas if isinstance(delta, TextDelta | ThinkingDelta)] == [
        "a",
        "",
        "😀",
        "😁",
        "b",
    ]


@pytest.mark.parametrize(
    ("between", "after", "expected"),
    [
        # The kinds may alternate, and events of other types may come between.
        ('{"type": "thinking_delta", "content": "Hm"}', r"\ude00", "😀"),
        ('{"type": "plan"}', r"\ude00!", "😀!"),
        ('{"type": "text_delta", "content": "b"}', r"\ude00", "\ufffd"),
        # A final has the whole character.
        ('{"type": "text", "content": "a😀"}', "c", "c"),
    ],
)
def test_half_of_a_character_waits_for_the_next_delta_of_its_kind(between: str, after: str, expected: str) -> None:
    reader = EventReader()
    first, _, last = (
        reader.read(data)
        for data in (
            r'{"type": "text_delta", "content": "a\ud83d"}',
            between,
            f'{{"type": "text_delta", "content": "{after}"}}',
        )
    )
    assert first == TextDelta(content="a")
    assert last == TextDelta(content=expected)


def test_line_separators_inside_a_text_are_kept() -> None:
    assert parse_event_json('{"type": "text", "content": "a\u2028b\x85c"}') == Text(content="a\u2028b\x85c")


def test_a_stop_may_say_null_for_the_skipped_indexes() -> None:
    event = parse_event({"type": "stop", "usage": {}, "is_error": False, "error": None, "skipped_index_ids": None})
    assert isinstance(event, Stop)
    assert event.skipped_index_ids == []


def test_a_session_holds_typed_events_and_gives_them_back_as_they_came() -> None:
    raw = [{"type": "text", "content": "hi"}, {"type": "plan", "n": 1}]
    body = {"session_id": "ses-1", "last_updated_at": "2026-04-22T12:34:41.342245", "events": raw, "new": True}
    session = Session.model_validate(body)
    assert session.events == [Text(content="hi"), UnknownEvent(raw=raw[1])]  # type: ignore[arg-type]
    assert session.model_dump(mode="json")["events"] == raw
    assert session.model_dump()["new"] is True


def test_a_session_whose_events_are_no_list_is_refused() -> None:
    body = {"session_id": "ses-1", "last_updated_at": "2026-04-22T12:34:41", "events": None}
    with pytest.raises(ValueError, match="events"):
        Session.model_validate(body)


@pytest.mark.parametrize(
    "odd",
    [
        {"generated_title": 5},
        {"index_ids": [None]},
        {"shared_access": {"a": 1}},
        {"job_metadata": "done"},
        {"job_metadata": {"total_input_tokens": 12.5, "turns": "two", "is_error": None, "error": {"code": 1}}},
    ],
)
def test_an_odd_field_of_a_summary_costs_itself_and_not_the_summary(odd: dict[str, JsonValue]) -> None:
    told = {"session_id": "ses-1", "last_updated_at": "2026-04-22T12:34:41", "index_ids": ["idx-1"]}
    job: dict[str, JsonValue] = {"total_output_tokens": 7, "cost": 0.5}
    given = odd.get("job_metadata", job)
    body = {**told, **odd, "job_metadata": {**job, **given} if isinstance(given, dict) else given}
    summary = SessionSummary.model_validate(body)
    assert summary.session_id == "ses-1"
    assert (summary.index_ids is None) == ("index_ids" in odd)
    assert summary.generated_title is summary.shared_access is None
    kept = summary.job_metadata
    assert (kept and (kept.output_tokens, kept.cost, kept.input_tokens, kept.is_error)) == (
        None if given == "done" else (7, 0.5, None, False)
    )


def test_a_time_without_a_zone_is_read_as_utc() -> None:
    summary = SessionSummary.model_validate({"session_id": "s", "last_updated_at": "2026-04-22T12:34:41.342245"})
    assert summary.last_updated_at.isoformat() == "2026-04-22T12:34:41.342245+00:00"
    zoned = SessionSummary.model_validate({"session_id": "s", "last_updated_at": "2026-04-22T12:34:41+02:00"})
    assert zoned.last_updated_at.isoformat() == "2026-04-22T12:34:41+02:00"


def test_usage_is_read_and_written_under_the_names_of_the_wire_and_what_is_not_told_stays_none() -> None:
    usage = Usage.model_validate({"total_input_tokens": 7, "total_output_tokens": None})
    assert (usage.input_tokens, usage.output_tokens, usage.turns, usage.duration_ms) == (7, None, 1, 0.0)
    assert usage.model_dump()["total_input_tokens"] == 7
    assert Usage(input_tokens=7) == usage


def test_a_tool_result_may_point_to_a_page_screenshot() -> None:
    image = {"attachment_name": "screenshots/page_7.jpg", "source_id": "dfl-1"}
    event = parse_event({"type": "tool_result", "call_id": "1", "name": "t", "result": 1, "image_attachment": image})  # type: ignore[dict-item]
    assert isinstance(event, ToolResult)
    assert event.image_attachment == ImageAttachment(attachment_name="screenshots/page_7.jpg", source_id="dfl-1")


@pytest.mark.parametrize(
    ("told", "tags"),
    [({}, {}), ({"tags": {"team": "docs", "size": 3}}, {"team": "docs"}), ({"tags": ["a"]}, {}), ({"tags": None}, {})],
)
def test_a_summary_has_tags_where_its_service_has_them(told: dict[str, object], tags: dict[str, str]) -> None:
    summary = SessionSummary.model_validate({"session_id": "s", "last_updated_at": "2026-01-01T00:00:00Z", **told})
    assert summary.tags == tags
    # What a service says is kept as it is.
    assert summary.model_dump().get("tags") == told.get("tags")
