from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from chat_sessions.core.events import (
    Event,
    Stop,
    Text,
    TextDelta,
    Thinking,
    ToolCall,
    ToolResult,
    UnknownEvent,
    UserInput,
)
from chat_sessions.core.models import ImageAttachment, Usage
from chat_sessions.server.turns.agent import AgentTurn
from chat_sessions.server.turns.behaviour import Behaviour
from tests.server.scripted import ANSWER, Gate, LocalApi, PaperIndex, ScriptedAgent, events_of, types

Start = Callable[..., LocalApi]


def test_a_turn_streams_deltas_then_the_whole_and_ends_with_its_stop(api: LocalApi) -> None:
    session_id = api.create()
    events = api.ask(session_id)
    assert [(event["type"], event.get("content")) for event in events] == [
        ("text_delta", "Forty-"),
        ("text_delta", "two."),
        ("text", "Forty-two."),
        ("stop", None),
    ]
    stop = events[-1]
    assert (stop["is_error"], stop["error"], stop["skipped_index_ids"]) == (False, None, [])
    assert stop["usage"].pop("duration_ms") > 0
    assert stop["usage"] == {"total_input_tokens": None, "total_output_tokens": None, "turns": 1}


def test_an_event_reaches_the_client_before_the_agent_has_the_next(start: Start) -> None:
    gates = [Gate(), Gate(), Gate()]
    call = ToolCall(call_id="c1", name="retrieve", arguments={"query": "x"})
    api = start(agent=ScriptedAgent(TextDelta(content="One"), gates[0], call, gates[1], Text(content="Two"), gates[2]))
    session_id = api.create()
    with api.stream(session_id) as stream:
        assert stream.event() == {"type": "text_delta", "content": "One"}
        gates[0].open()
        # The tool call ends the segment before it.
        assert stream.event() == {"type": "text", "content": "One"}
        assert stream.event()["type"] == "tool_call"
        gates[1].open()
        assert types([stream.event(), stream.event()]) == ["text_delta", "text"]
        gates[2].open()
        assert types(stream.rest()) == ["stop"]


def test_every_event_is_in_the_history_before_it_is_in_the_stream(start: Start) -> None:
    gate = Gate()
    api = start(agent=ScriptedAgent(Thinking(content="Hm."), gate, Text(content="Yes.")))
    session_id = api.create()
    with api.stream(session_id) as stream:
        assert types([stream.event(), stream.event()]) == ["thinking_delta", "thinking"]
        assert api.history(session_id) == ["user_input", "thinking"]
        gate.open()
        stream.rest()
    assert api.history(session_id) == ["user_input", "thinking", "text", "stop"]


def test_a_stream_cannot_be_buffered_on_its_way(api: LocalApi) -> None:
    response = api.post(api.create())
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-accel-buffering"] == "no"


def test_an_event_is_one_line_whatever_it_holds(start: Start) -> None:
    text = "a\u2028b\u2029c\x85d\ne\rf\x0bg\x00h\U0001f600"
    api = start(agent=ScriptedAgent(TextDelta(content=text)))
    session_id = api.create()
    raw = api.post(session_id).text
    assert "a\u2028b\u2029c\x85d\\ne\\rf" in raw
    assert events_of(raw)[0]["content"] == text
    assert api.retrieve(session_id)["events"][1] == {"type": "text", "content": text}


def test_tool_results_and_unknown_events_pass_as_the_agent_gave_them(start: Start) -> None:
    result = ToolResult(
        call_id="c1",
        name="read",
        result={"content": ["any", {"json": None}]},
        image_attachment=ImageAttachment(attachment_name="screenshots/page_3.jpg", source_id="dfl-paper"),
    )
    unknown = UnknownEvent(raw={"type": "brand_new", "n": 1})
    api = start(agent=ScriptedAgent(result, unknown))
    session_id = api.create()
    events = api.ask(session_id)
    assert events[0] == {
        "type": "tool_result",
        "call_id": "c1",
        "name": "read",
        "result": {"content": ["any", {"json": None}]},
        "image_attachment": {"attachment_name": "screenshots/page_3.jpg", "source_id": "dfl-paper"},
    }
    assert events[1] == {"type": "brand_new", "n": 1}
    assert api.retrieve(session_id)["events"][1:3] == events[:2]


def test_the_agents_own_stop_ends_the_turn_and_is_its_job_metadata(start: Start) -> None:
    stop = Stop(usage=Usage(input_tokens=7, output_tokens=3, turns=2, duration_ms=12.5), is_error=True, error="no luck")
    api = start(agent=ScriptedAgent(Text(content="a"), stop, Text(content="never")))
    session_id = api.create()
    events = api.ask(session_id)
    assert types(events) == ["text_delta", "text", "stop"]
    assert events[-1]["error"] == "no luck"
    assert api.retrieve(session_id)["job_metadata"] == {
        "total_input_tokens": 7,
        "total_output_tokens": 3,
        "turns": 2,
        "duration_ms": 12.5,
        "is_error": True,
        "error": "no luck",
        "export_config_ids": None,
    }


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (ValueError("the model is out"), "ValueError: the model is out"),
        (ValueError("half \ud83d"), "ValueError: half ?"),
        (UserInput(content="me"), "an agent cannot yield user_input"),
        ({"type": "text"}, "AttributeError"),
        (TextDelta.model_construct(content="\ud83d"), "surrogate"),
    ],
)
def test_an_agent_that_fails_ends_the_turn_as_an_error_with_what_came_before(
    start: Start, step: object, said: str
) -> None:
    api = start(agent=ScriptedAgent(TextDelta(content="So far"), step))
    session_id = api.create()
    events = api.ask(session_id)
    assert types(events) == ["text_delta", "text", "stop"]
    assert events[1]["content"] == "So far"
    assert events[2]["is_error"] is True
    assert said in events[2]["error"]
    assert api.history(session_id) == ["user_input", "text", "stop"]


class RefreshingAgent(ScriptedAgent):
    """Waits for the look at the files, as an agent that searches them does."""

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        await turn.refresh()
        async for event in super().run(turn):
            yield event


def test_the_agent_is_told_the_prompt_the_indexes_and_the_history_of_finals(start: Start) -> None:
    agent = RefreshingAgent(*ANSWER)
    index = PaperIndex()
    api = start(agent=agent, indexes={"idx-docs": index})
    session_id = api.create()
    api.ask(session_id, "First?")
    api.ask(session_id, "Second?")
    first, second = agent.turns
    assert (first.prompt, first.history, first.session_id) == ("First?", [], session_id)
    assert list(second.indexes) == [index]
    assert [event.type for event in second.history] == ["user_input", "text", "stop"]
    assert index.refreshed == 2


def test_unknown_indexes_are_skipped_and_named(start: Start) -> None:
    agent = ScriptedAgent(*ANSWER)
    api = start(agent=agent)
    stop = api.ask(api.create(), index_ids=["idx-gone", "idx-docs", "idx-gone"])[-1]
    assert (stop["is_error"], stop["skipped_index_ids"]) == (False, ["idx-gone"])
    assert len(agent.turns[0].indexes) == 1


def test_an_index_that_cannot_be_refreshed_is_skipped(start: Start) -> None:
    broken = PaperIndex()
    broken.broken = OSError("the folder is gone")
    api = start(indexes={"idx-docs": PaperIndex(), "idx-broken": broken})
    stop = api.ask(api.create(), index_ids=["idx-docs", "idx-broken"])[-1]
    assert (stop["is_error"], stop["skipped_index_ids"]) == (False, ["idx-broken"])


@pytest.mark.parametrize(
    ("index_ids", "require_all", "said"),
    [
        (["idx-gone"], False, "none of the requested indexes can be queried: no idx-gone; this server has idx-docs"),
        (
            ["idx-docs", "idx-gone"],
            True,
            "not all of the requested indexes can be queried: no idx-gone; this server has idx-docs",
        ),
    ],
)
def test_a_turn_without_the_indexes_it_needs_fails_in_its_stop(
    start: Start, index_ids: list[str], require_all: bool, said: str
) -> None:
    agent = ScriptedAgent(*ANSWER)
    api = start(agent=agent)
    session_id = api.create()
    events = api.ask(session_id, index_ids=index_ids, require_all_indexes=require_all)
    assert types(events) == ["stop"]
    assert (events[0]["is_error"], events[0]["error"]) == (True, said)
    assert events[0]["skipped_index_ids"] == ["idx-gone"]
    assert agent.turns == []
    assert api.history(session_id) == ["user_input", "stop"]


def test_a_server_with_many_indexes_names_ten_that_there_are(start: Start) -> None:
    api = start(indexes={f"idx-{number}": PaperIndex() for number in range(12)})
    (stop,) = api.ask(api.create(index_ids=["idx-1"]), index_ids=["idx-gone"])
    assert stop["error"].endswith("idx-8, idx-9 and 2 others")


def test_all_required_indexes_there_is_a_turn_like_any_other(api: LocalApi) -> None:
    assert api.ask(api.create(), require_all_indexes=True)[-1]["is_error"] is False


def test_a_fast_agent_loses_no_event(start: Start) -> None:
    pieces = [TextDelta(content=f"{number} ") for number in range(1500)]
    api = start(agent=ScriptedAgent(*pieces))
    session_id = api.create()
    events = api.ask(session_id)
    assert [event["content"] for event in events[:-2]] == [piece.content for piece in pieces]
    assert api.retrieve(session_id)["events"][1]["content"] == "".join(piece.content for piece in pieces)


def test_a_client_that_leaves_does_not_end_the_turn(start: Start) -> None:
    gate = Gate()
    agent = ScriptedAgent(TextDelta(content="a"), gate, TextDelta(content="b"), by_prompt={"Next?": []})
    api = start(agent=agent, behaviour=Behaviour(concurrent_turns="queue"))
    session_id = api.create()
    with api.stream(session_id) as stream:
        stream.event()
    gate.open()
    api.ask(session_id, "Next?")  # queued: when it is answered, the first turn has ended
    events = api.retrieve(session_id)["events"]
    assert [event.get("content") for event in events[:2]] == ["How many?", "ab"]
    assert events[2]["is_error"] is False


def test_a_client_that_leaves_cancels_the_turn_where_told(start: Start) -> None:
    gate = Gate()
    agent = ScriptedAgent(TextDelta(content="a"), gate, by_prompt={"Next?": []})
    api = start(agent=agent, behaviour=Behaviour(on_disconnect="cancel", concurrent_turns="queue"))
    session_id = api.create()
    with api.stream(session_id) as stream:
        stream.event()
    assert gate.left.wait(20)
    api.ask(session_id, "Next?")
    events = api.retrieve(session_id)["events"]
    assert types(events[:3]) == ["user_input", "text", "stop"]
    assert (events[2]["is_error"], events[2]["error"]) == (True, "the client disconnected")


def test_a_client_that_leaves_after_the_stop_changes_nothing(start: Start) -> None:
    api = start(behaviour=Behaviour(on_disconnect="cancel"))
    session_id = api.create()
    assert api.ask(session_id)[-1]["is_error"] is False
    assert api.retrieve(session_id)["job_metadata"]["is_error"] is False


def test_a_second_message_meets_a_conflict_while_the_first_is_answered(start: Start) -> None:
    gate = Gate()
    api = start(agent=ScriptedAgent(gate, *ANSWER))
    session_id = api.create()
    other = api.create()
    with api.stream(session_id) as stream:
        assert gate.reached.wait(20)
        response = api.post(session_id)
        assert response.status_code == 409
        assert response.json()["detail"].startswith(f"session {session_id} is answering")
        gate.open()
        stream.rest()
    assert api.ask(session_id)[-1]["is_error"] is False
    assert api.ask(other)[-1]["is_error"] is False
    assert api.history(session_id).count("user_input") == 2


def test_parallel_messages_are_answered_at_the_same_time_and_stored_turn_by_turn(start: Start) -> None:
    gate = Gate()
    agent = ScriptedAgent(*ANSWER, by_prompt={"Slow?": [TextDelta(content="slow"), gate]})
    api = start(agent=agent, behaviour=Behaviour(concurrent_turns="parallel"))
    session_id = api.create()
    with api.stream(session_id, "Slow?") as stream:
        stream.event()
        assert api.ask(session_id, "Fast?")[-1]["is_error"] is False
        gate.open()
        stream.rest()
    contents = [event.get("content") for event in api.retrieve(session_id)["events"]]
    assert contents == ["Slow?", "slow", None, "Fast?", "Forty-two.", None]


def test_deleting_a_session_ends_its_turn_with_an_error(start: Start) -> None:
    gate = Gate()
    api = start(agent=ScriptedAgent(TextDelta(content="a"), gate))
    session_id = api.create()
    with api.stream(session_id) as stream:
        stream.event()
        assert api.http.delete(f"/api/v1/chat/{session_id}").status_code == 204
        events = stream.rest()
    assert types(events) == ["text", "stop"]
    assert events[-1]["error"] == "the session was deleted"
    assert api.http.get(f"/api/v1/chat/{session_id}").status_code == 404


def test_an_index_given_twice_is_one_index(api: LocalApi) -> None:
    session_id = api.create()
    api.ask(session_id, index_ids=["idx-docs", "idx-docs"])
    assert api.ask(session_id, index_ids=["idx-docs"])[-1]["is_error"] is False
