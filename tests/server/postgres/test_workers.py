"""Several processes on one store: what one knows, the others keep to; what one was doing when it died, they end."""

from __future__ import annotations

from tests.server.postgresql import require_postgresql

require_postgresql()

import os  # noqa: E402
import signal  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from contextlib import ExitStack  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
from benchmarks import load  # noqa: E402

from tests.server.hosting.served import STREAMED, Served, held_after  # noqa: E402
from tests.server.hosting.test_crash import ended, is_kept, status_of  # noqa: E402
from tests.server.scripted import Api, EventReader, types  # noqa: E402


@pytest.fixture
def served(database: str) -> Iterator[Served]:
    with Served(database, workers=2, drain=50) as running:
        yield running


def in_both(served: Served, streams: ExitStack, prompt: str) -> dict[int, tuple[Api, str, EventReader]]:
    """A session whose turn is held, for each of the two workers, by the worker's process."""
    found: dict[int, tuple[Api, str, EventReader]] = {}
    while len(found) < 2:
        # Each connection goes to whichever worker takes it first.
        api = served.api()
        session_id = api.create()
        stream = streams.enter_context(api.stream(session_id, prompt))
        stream.event()
        found.setdefault(int(stream.event()["content"]), (api, session_id, stream))
    return found


def test_a_session_that_one_worker_answers_is_busy_in_the_other(served: Served, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with ExitStack() as streams:
        first, second = in_both(served, streams, held_after(1, go)).values()
        for api, other in ((first[0], second[1]), (second[0], first[1])):
            fresh = served.api()
            assert fresh.post(other).status_code == 409
            assert api is not fresh
        go.touch()
        for api, session_id, stream in (first, second):
            assert types(stream.rest()) == STREAMED[2:]
            assert types(api.ask(session_id, "again")) == STREAMED


def test_the_turns_of_a_killed_worker_end_as_errors_and_those_of_the_living_go_on(
    served: Served, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    with ExitStack() as streams:
        (dead, (_, cut, _)), (_, (_, alive, stream)) = in_both(served, streams, held_after(1, go)).items()
        os.kill(dead, signal.SIGKILL)
        api = served.api()
        events = ended(api, cut)
        is_kept([{"type": "thinking", "content": str(dead)}], events)
        assert types(api.retrieve(alive)["events"]) == ["user_input", "thinking"]
        go.touch()
        assert types(stream.rest()) == STREAMED[2:]
        assert types(api.ask(cut, "again")) == STREAMED


def test_a_killed_worker_is_replaced(served: Served, tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.touch()
    with ExitStack() as streams:
        before = set(in_both(served, streams, held_after(1, go)))
    os.kill(min(before), signal.SIGKILL)
    api = served.api()
    now: set[int] = set()
    while not now - before:
        api = served.api()
        now.add(int(api.ask(api.create(), held_after(1, go))[1]["content"]))
    assert min(before) not in now


def test_a_session_deleted_through_one_worker_ends_its_turn_in_the_other(served: Served) -> None:
    with ExitStack() as streams:
        for _, session_id, stream in in_both(served, streams, held_after(1)).values():
            assert served.api().http.delete(f"/api/v1/chat/{session_id}").status_code == 204
            events = stream.rest()
            assert types(events)[-1] == "stop"
            assert events[-1]["error"] == "the session was deleted"
            assert served.api().http.get(f"/api/v1/chat/{session_id}").status_code == 404


def test_every_worker_drains_when_the_server_is_told_to_end(served: Served, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with ExitStack() as streams:
        held = in_both(served, streams, held_after(1, go))
        served.signal(signal.SIGTERM)
        while status_of(served.api(), "ses-none") is not None:
            pass
        go.touch()
        for _, _, stream in held.values():
            assert types(stream.rest()) == STREAMED[2:]
    assert served.end() == (0, "")


def test_workers_end_when_the_process_that_looks_after_them_is_killed(served: Served, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with ExitStack() as streams:
        held = in_both(served, streams, held_after(1, go))
        served.kill()
        while status_of(served.api(), "ses-none") is not None:
            pass
        go.touch()
        for _, _, stream in held.values():
            assert types(stream.rest()) == STREAMED[2:]


@pytest.mark.timeout(300)  # two hundred turns, on a machine that may be busy
def test_a_turn_is_lost_by_no_client_when_a_worker_is_killed_under_load(database: str) -> None:
    report = load.run(store=database, workers=2, sessions=20, turns=200, clients=10, kill=True)
    assert report.is_well, str(report)
    assert report.killed is not None
