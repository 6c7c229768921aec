"""A server that is killed or asked to end, in a process of its own, on every kind of store."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.hosting.served import STREAMED, Served, held_after
from tests.server.postgresql import has_postgresql, new_database
from tests.server.scripted import Api, types


@pytest.fixture(params=["sqlite", *(["postgresql"] if has_postgresql() else [])])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/chat.db"
    else:
        with new_database() as url:
            yield url


def ended(api: Api, session_id: str) -> list[dict[str, Any]]:
    """The session's events when its turn has ended, which takes a store of several processes some seconds."""
    while True:
        events: list[dict[str, Any]] = api.retrieve(session_id)["events"]
        if events[-1]["type"] == "stop":
            return events


def test_nothing_that_a_client_has_read_is_lost_when_the_server_is_killed(store: str) -> None:
    read: dict[str, list[dict[str, Any]]] = {}
    with Served(store) as served, ExitStack() as streams:
        # One turn at each of its boundaries, and all of them cut at once.
        for step in range(6):
            api = served.api()
            session_id = api.create()
            stream = streams.enter_context(api.stream(session_id, held_after(step)))
            read[session_id] = [stream.event() for _ in range(step + (step > 0))]
            assert types(read[session_id]) == STREAMED[: len(read[session_id])]
        served.kill()
    with Served(store) as again:
        api = again.api()
        for session_id, streamed in read.items():
            is_kept(streamed, ended(api, session_id))
            assert types(api.ask(session_id, "go on")) == STREAMED


def is_kept(streamed: list[dict[str, Any]], events: list[dict[str, Any]]) -> None:
    """All that was streamed is in the history, whose wholes hold what the deltas held, and an error stop ends it."""
    kept = [event for event in events[1:] if event["type"] != "text"]
    assert kept[:-1] == [event for event in streamed if not event["type"].endswith("_delta")]
    text = "".join(event["content"] for event in streamed if event["type"] == "text_delta")
    assert [event["content"] for event in events if event["type"] == "text"] == ([text] if text else [])
    assert (events[-1]["is_error"], events[-1]["error"]) == (True, "the server stopped while it was answering")


def test_a_turn_that_was_answered_is_there_when_the_server_is_killed_after_its_stop(store: str) -> None:
    with Served(store) as served:
        api = served.api()
        session_id = api.create()
        with api.stream(session_id) as stream:
            while stream.event()["type"] != "stop":
                pass
            served.kill()
    with Served(store) as again:
        events = again.api().retrieve(session_id)["events"]
        assert types(events) == ["user_input", "thinking", "tool_call", "tool_result", "text", "stop"]
        assert events[-1]["is_error"] is False


def test_a_server_that_is_to_end_refuses_messages_and_lets_the_running_turn_end(store: str, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with Served(store, drain=50) as served:
        api, other = served.api(), served.api()
        session_id, waiting = api.create(), other.create()
        with api.stream(session_id, held_after(1, go)) as stream:
            stream.event()
            served.signal(signal.SIGTERM)
            # The connection that `other` has is served to the end; a new one is refused.
            while (status := status_of(other, waiting)) == 200:
                pass
            assert status in (503, None)
            go.touch()
            assert types(stream.rest()) == STREAMED[1:]
        assert served.end() == (0, "")


def status_of(api: Api, session_id: str) -> int | None:
    try:
        return api.post(session_id).status_code
    except httpx.TransportError:
        return None


def test_a_turn_that_outlasts_the_drain_ends_as_an_error_that_its_client_sees(store: str) -> None:
    with Served(store, drain=0.2) as served:
        api = served.api()
        session_id = api.create()
        with api.stream(session_id, held_after(4)) as stream:
            read = [stream.event() for _ in range(5)]
            served.signal(signal.SIGTERM)
            read += stream.rest()
        assert served.end() == (0, "")
    assert types(read)[-2:] == ["text", "stop"]
    assert read[-1]["error"] == "the server is shutting down"
    with Served(store) as again:
        assert again.api().retrieve(session_id)["events"][-1] == read[-1]


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_does_not_wait_for_the_drain(store: str, first: int) -> None:
    with Served(store, drain=600) as served:
        api = served.api()
        with api.stream(api.create(), held_after(1)) as stream:
            stream.event()
            served.signal(first)
            while status_of(served.api(), "ses-none") is not None:
                pass
            served.signal(signal.SIGINT)
            assert types(stream.rest()) == ["thinking", "stop"]
        assert served.end() == (0, "")
