"""What a server refuses because it is too much, and what it says then."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import FrozenInstanceError
from typing import Any, Self

import httpx
import pytest

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.core.events import Event, Stop, Text, TextDelta, UserInput
from chat_sessions.core.models import Usage
from chat_sessions.server import Limits, create_app
from chat_sessions.server.turns.agent import Agent, AgentTurn
from chat_sessions.server.turns.limits import TooManyTurns, TurnSlots
from tests.server.scripted import ANSWER, IDS, Gate, PaperIndex, ScriptedAgent, events_of, types

MESSAGE = {"index_ids": IDS, "prompt": "How many?"}


class Client:
    """A client of an application that runs in this event loop."""

    def __init__(self, agent: Agent | None = None, **limits: Any) -> None:
        self.app = create_app(
            indexes={"idx-docs": PaperIndex()},
            agent=agent or ScriptedAgent(*ANSWER),
            api_key="key",
            limits=Limits(**limits),
        )
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://app", headers={"Authorization": "Bearer key"}
        )
        self._lifespan = self.app.router.lifespan_context(self.app)

    async def __aenter__(self) -> Self:
        await self._lifespan.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()
        await self._lifespan.__aexit__(None, None, None)

    async def create(self) -> str:
        response = await self.http.post("/api/v1/chat")
        assert response.status_code == 201, response.text
        return str(response.json()["session_id"])

    async def post(self, session_id: str) -> httpx.Response:
        return await self.http.post(f"/api/v1/chat/{session_id}/messages/stream", json=MESSAGE)

    async def ask(self, session_id: str) -> list[dict[str, Any]]:
        response = await self.post(session_id)
        assert response.status_code == 200, response.text
        return events_of(response.text)


def detail(response: httpx.Response) -> str:
    """What a refusal says, in the form that every error of the API has."""
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"detail"}
    return str(body["detail"])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"body_bytes": 0}, r"Limits\(body_bytes=0\): use a number above 0"),
        ({"body_bytes": None}, r"Limits\(body_bytes=None\): use a whole number above 0$"),
        ({"turn_events": -1}, r"turn_events=-1\): use a number above 0"),
        ({"turn_events": 2.5}, r"turn_events=2.5\): use a whole number above 0, or None for no limit"),
        ({"turn_bytes": "1 MB"}, r"turn_bytes='1 MB'\): use a whole number"),
        ({"turn_bytes": True}, r"turn_bytes=True\): use a whole number"),
        ({"turn_seconds": math.nan}, r"turn_seconds=nan\): use a number above 0"),
        ({"turn_seconds": math.inf}, r"turn_seconds=inf\): use a number above 0"),
        ({"running_turns": 0}, r"running_turns=0"),
        ({"sessions": 0}, r"sessions=0"),
        ({"requests_per_second": "5"}, r"requests_per_second='5'\): use a number above 0, or None"),
    ],
)
def test_a_limit_that_is_no_number_above_zero_is_refused_by_its_name(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Limits(**values)


def test_limits_are_a_value_and_fractions_are_taken_where_they_mean_something() -> None:
    assert Limits(requests_per_second=0.5, turn_seconds=1.5) == Limits(requests_per_second=0.5, turn_seconds=1.5)
    with pytest.raises(FrozenInstanceError):
        Limits().sessions = 3  # type: ignore[misc]


async def test_a_body_beyond_its_limit_is_refused_and_one_at_it_is_taken() -> None:
    async with Client(body_bytes=20) as client:
        assert (await client.http.post("/api/v1/chat", content=b"{}" + b" " * 18)).status_code == 201
        response = await client.http.post("/api/v1/chat", content=b"{}" + b" " * 19)
        assert (response.status_code, detail(response)) == (413, "the body is larger than 20 bytes")


async def test_an_agent_that_does_not_stop_talking_is_cut_with_an_error_stop_that_says_so() -> None:
    left = asyncio.Event()

    class Runaway:
        async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
            try:
                while True:
                    yield TextDelta(content="on ")
            finally:
                left.set()

    async with Client(Runaway(), turn_events=3) as client:
        session_id = await client.create()
        events = await client.ask(session_id)
        assert types(events) == ["text_delta"] * 3 + ["text", "stop"]
        assert events[-2]["content"] == "on on on "
        assert events[-1]["is_error"] is True
        assert "exceeds this server's limit of 3 events" in events[-1]["error"]
        assert left.is_set()
        summary = (await client.http.get(f"/api/v1/chat/{session_id}/summary")).json()
        assert summary["job_metadata"]["error"] == events[-1]["error"]
        assert types(await client.ask(session_id))[-1] == "stop"  # the session is free again


async def test_an_agent_is_cut_before_the_event_that_is_too_large() -> None:
    small, large = TextDelta(content="fine"), TextDelta(content="ä" * 1000)
    size = len(small.model_dump_json().encode()) + len(large.model_dump_json().encode())
    async with Client(ScriptedAgent(small, large), turn_bytes=size) as client:
        assert (await client.ask(await client.create()))[-1]["is_error"] is False
    async with Client(ScriptedAgent(small, large), turn_bytes=size - 1) as client:
        events = await client.ask(await client.create())
        assert [event.get("content") for event in events[:-1]] == ["fine", "fine"]
        assert f"limit of {size - 1:,} bytes" in events[-1]["error"]


async def test_an_agent_that_never_answers_is_cut_after_its_time() -> None:
    gate = Gate()
    async with Client(ScriptedAgent(TextDelta(content="wait"), gate), turn_seconds=0.01) as client:
        events = await client.ask(await client.create())
        assert "exceeds this server's limit of 0.01 seconds" in events[-1]["error"]
        assert types(events)[-1] == "stop"
    assert gate.left.is_set() or not gate.reached.is_set()


async def test_a_timeout_of_the_agents_own_is_told_as_its_own() -> None:
    async with Client(ScriptedAgent(TimeoutError("the model is slow")), turn_seconds=1000) as client:
        stop = (await client.ask(await client.create()))[-1]
        assert stop["error"] == "the agent failed: TimeoutError: the model is slow"


async def test_a_turn_within_its_limits_is_the_agents_own_stop_included() -> None:
    script = [Text(content="42"), Stop(usage=Usage(output_tokens=7), is_error=False)]
    async with Client(ScriptedAgent(*script), turn_events=1, turn_seconds=1000) as client:
        _, text, stop = await client.ask(await client.create())
        assert text["content"] == "42"
        assert (stop["is_error"], stop["usage"]["total_output_tokens"]) == (False, 7)


@pytest.mark.parametrize("limit", [{"turn_events": 1}, {"turn_bytes": 60}, {"turn_seconds": 0.01}], ids=str)
async def test_nothing_follows_the_stop_of_a_turn_that_was_cut(limit: dict[str, Any]) -> None:
    script = [TextDelta(content="one"), TextDelta(content="two"), Gate(), TextDelta(content="three")]
    async with Client(ScriptedAgent(*script), **limit) as client:
        events = await client.ask(await client.create())
        assert types(events).index("stop") == len(events) - 1
        assert "three" not in str(events)


async def test_what_an_agent_may_not_give_is_still_refused() -> None:
    async with Client(ScriptedAgent(UserInput(content="I am you"))) as client:
        assert "an agent cannot yield user_input" in (await client.ask(await client.create()))[-1]["error"]


async def test_a_message_beyond_the_turns_at_once_is_refused_and_taken_when_one_has_ended() -> None:
    gate = Gate()
    agent = ScriptedAgent(gate, *ANSWER)
    async with Client(agent, running_turns=1) as client:
        first, second = await client.create(), await client.create()
        running = asyncio.create_task(client.ask(first))
        await asyncio.to_thread(gate.reached.wait)
        refused = await client.post(second)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert "limit of 1 turns at a time is reached" in detail(refused)
        assert "the message was not accepted" in detail(refused)
        assert (await client.http.get(f"/api/v1/chat/{second}")).json()["events"] == []
        gate.open()
        assert types(await running)[-1] == "stop"
        agent.steps = list(ANSWER)
        assert types(await client.ask(second))[-1] == "stop"
    assert len(agent.turns) == 2


async def test_a_message_that_is_refused_for_another_reason_takes_no_place() -> None:
    async with Client(running_turns=1) as client:
        for _ in range(2):
            assert (await client.post("ses-unknown")).status_code == 404
        session_id = await client.create()
        await client.ask(session_id)
        locked = await client.http.post(
            f"/api/v1/chat/{session_id}/messages/stream", json={"index_ids": ["idx-other"], "prompt": "hi"}
        )
        assert locked.status_code == 422
        assert types(await client.ask(session_id))[-1] == "stop"


def test_a_place_that_is_given_back_is_one_place() -> None:
    slots = TurnSlots(2)
    slots.take()
    slots.take()
    slots.free()
    slots.take()
    with pytest.raises(TooManyTurns, match="limit of 2 turns at a time is reached"):
        slots.take()


async def test_a_store_that_is_full_takes_no_session_until_one_is_deleted() -> None:
    async with Client(sessions=2) as client:
        first, _ = await client.create(), await client.create()
        refused = await client.http.post("/api/v1/chat")
        assert refused.status_code == 403
        assert detail(refused) == "this server's limit of 2 sessions is reached; delete one you do not need"
        assert (await client.http.delete(f"/api/v1/chat/{first}")).status_code == 204
        await client.create()


async def test_creates_at_the_same_time_do_not_overfill_the_store() -> None:
    async with Client(sessions=3) as client:
        answers = await asyncio.gather(*(client.http.post("/api/v1/chat") for _ in range(10)))
        assert sorted(answer.status_code for answer in answers) == [201] * 3 + [403] * 7
