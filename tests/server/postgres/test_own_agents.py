"""A team's own agents behind the API: two workers, one store on PostgreSQL, `serve --agent module:object`."""

from __future__ import annotations

from tests.server.postgresql import new_database, require_postgresql

require_postgresql()

import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, Literal  # noqa: E402

import pytest  # noqa: E402

pytest.importorskip("langchain.agents")

from chat_sessions.langchain import GraphAgent  # noqa: E402
from chat_sessions.llama_index import WorkflowAgent  # noqa: E402
from chat_sessions.server import Behaviour, ServerThread  # noqa: E402
from tests.server.hosting.served import KEY, Served  # noqa: E402
from tests.server.hosting.test_crash import ended  # noqa: E402
from tests.server.postgres import own_agents  # noqa: E402
from tests.server.scripted import Api, LocalApi, PaperIndex, types  # noqa: E402


@pytest.fixture(params=["flow", "graph"], scope="module")
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("files")
    (folder / "a.md").write_text("The ferry carries 40 cars.")
    agent = f"tests.server.postgres.own_agents:{request.param}"
    with new_database() as store:
        command = [sys.executable, "-m", "chat_sessions", "serve", f"idx-docs={folder}", "--store", store]
        command += ["--workers", "2", "--port", "0", "--api-key", KEY, "--agent", agent]
        with Served(command=command) as running:
            yield running


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event["content"] for event in events if event["type"] == "text")


def process_of(events: list[dict[str, Any]]) -> int:
    return int(next(event["content"] for event in events if event["type"] == "thinking").removeprefix("process "))


def other_than(process: int, served: Served) -> tuple[Api, str]:
    """A connection to another worker than this, and the session that showed it."""
    while True:
        # Each connection goes to whichever worker takes it first, and stays there.
        api = served.api()
        session_id = api.create()
        if process_of(api.ask(session_id, "Who?")) != process:
            return api, session_id


def test_a_session_goes_on_in_the_other_worker_which_sees_what_was_said_in_the_first(served: Served) -> None:
    api = served.api()
    session_id = api.create()
    events = api.ask(session_id, "One?")
    assert text_of(events) == "after 0"
    other, _ = other_than(process_of(events), served)
    again = other.ask(session_id, "Two?")
    assert text_of(again) == "after 2"
    assert process_of(again) != process_of(events)
    assert text_of(api.ask(session_id, "Three?")) == "after 4"


def test_thoughts_are_thinking_events_as_they_come_and_in_the_history(served: Served) -> None:
    api = served.api()
    session_id = api.create()
    events = api.ask(session_id, "One?")
    assert types(events) == ["thinking_delta", "thinking", "text_delta", "text_delta", "text", "stop"]
    assert types(api.retrieve(session_id)["events"]) == ["user_input", "thinking", "text", "stop"]


def test_a_turn_whose_worker_is_killed_ends_as_an_error_and_its_session_goes_on_in_the_other(
    served: Served, tmp_path: Path
) -> None:
    api = served.api()
    session_id = api.create()
    process = process_of(api.ask(session_id, "One?"))
    other, alive = other_than(process, served)
    with api.stream(session_id, str(tmp_path / "go")) as stream:
        assert stream.event()["type"] == "thinking_delta"
        os.kill(process, signal.SIGKILL)
        events = ended(other, session_id)
    assert (events[-1]["is_error"], events[-1]["error"]) == (True, "the server stopped while it was answering")
    assert events[-2]["type"] in ("thinking", "text")
    assert text_of(other.ask(alive, "Are you there?")) == "after 2"
    # Both prompts, the answer of the first, and of the second the word that was said, if it was stored.
    said = text_of(other.ask(session_id, "Two?"))
    assert said == ("after 4" if events[-2]["type"] == "text" else "after 3")


# LlamaIndex's workflows look at every attribute of an agent, pydantic's old ones too.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")
@pytest.mark.parametrize("name", ["flow", "graph"])
@pytest.mark.parametrize("rule", ["cancel", "finish"])
def test_a_client_that_leaves_cancels_the_run_or_does_not(
    database: str, tmp_path: Path, name: str, rule: Literal["cancel", "finish"]
) -> None:
    agent = WorkflowAgent(own_agents.flow) if name == "flow" else GraphAgent(own_agents.graph)
    go = tmp_path / "go"
    indexes = {"idx-docs": PaperIndex()}
    with ServerThread(indexes, agent=agent, store=database, behaviour=Behaviour(on_disconnect=rule)) as server:
        api = LocalApi(server)
        session_id = api.create()
        with api.stream(session_id, str(go)) as stream:
            while stream.event()["type"] != "text_delta":
                pass
        if rule == "finish":
            go.touch()
        events = ended(api, session_id)
        assert text_of(events) == ("after 0" if rule == "finish" else "after ")
        assert events[-1]["error"] == (None if rule == "finish" else "the client disconnected")
        # The agent itself was left, and not only its answer.
        while not Path(f"{go}{own_agents.LEFT}").exists():
            pass
        api.http.close()
