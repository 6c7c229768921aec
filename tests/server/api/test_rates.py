"""How fast a client may send, and what one that is too fast gets."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import HTTPException
from starlette.types import Receive, Scope, Send

from chat_sessions.server.api.rates import RequestPace, RequestRate
from tests.server.turns.test_limits import Client, detail


async def test_a_client_that_asks_too_fast_is_told_when_to_ask_again() -> None:
    async with Client(requests_per_second=0.001) as client:
        assert (await client.http.get("/api/v1/indexes")).status_code == 200
        refused = await client.http.get("/api/v1/indexes")
        assert refused.status_code == 429
        assert 990 <= int(refused.headers["retry-after"]) <= 1000
        assert "limit of 0.001 requests a second is exceeded" in detail(refused)
        # A health check is no client's.
        assert [(await client.http.get("/health")).status_code for _ in range(3)] == [200] * 3


async def test_requests_without_a_key_count_so_that_keys_cannot_be_guessed_at_leisure() -> None:
    async with Client(requests_per_second=0.001) as client:
        wrong = {"Authorization": "Bearer wrong"}
        assert (await client.http.get("/api/v1/indexes", headers=wrong)).status_code == 401
        assert (await client.http.get("/api/v1/indexes", headers=wrong)).status_code == 429


class Pace:
    """A `RequestRate` with a clock of the test's own, in front of an application that answers nothing."""

    def __init__(self, per_second: float) -> None:
        self.now = 100.0
        self.pace = RequestPace(per_second, now=lambda: self.now)
        self.rate = RequestRate(self._ok, self.pace)

    @staticmethod
    async def _ok(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    async def status(self, client: str | None = "10.0.0.1") -> int:
        async def send(part: Any) -> None:
            raise AssertionError("nothing is answered")

        async def receive() -> Any:
            raise AssertionError("no body is read")

        address = None if client is None else (client, 50000)
        try:
            await self.rate({"type": "http", "client": address}, receive, send)
        except HTTPException as refusal:
            return refusal.status_code
        return 200


async def test_a_client_may_send_at_once_what_a_second_allows_and_then_one_after_the_other() -> None:
    pace = Pace(4)
    assert [await pace.status() for _ in range(5)] == [200] * 4 + [429]
    pace.now += 0.25
    assert [await pace.status() for _ in range(2)] == [200, 429]
    pace.now += 1000
    assert [await pace.status() for _ in range(5)] == [200] * 4 + [429]


async def test_each_address_has_a_pace_of_its_own() -> None:
    pace = Pace(1)
    assert [await pace.status(client) for client in ("10.0.0.1", "10.0.0.2", None)] == [200] * 3
    assert [await pace.status(client) for client in ("10.0.0.1", "10.0.0.2", None)] == [429] * 3


async def test_addresses_without_end_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_sessions.server.api.rates._KNOWN_CLIENTS", 3)
    pace = Pace(1)
    for number in range(10):
        await pace.status(f"10.0.0.{number}")
    assert len(pace.pace._buckets) == 3
    assert await pace.status("10.0.0.9") == 429


async def test_a_client_that_asks_all_the_time_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat_sessions.server.api.rates._KNOWN_CLIENTS", 2)
    pace = Pace(1)
    assert await pace.status("10.0.0.1") == 200
    for number in range(2, 10):
        await pace.status(f"10.0.0.{number}")
        assert await pace.status("10.0.0.1") == 429
