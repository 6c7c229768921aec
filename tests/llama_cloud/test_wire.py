"""What is sent again after an error, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from chat_sessions import APIConnectionError, ProtocolError, RateLimitError
from chat_sessions.core.errors import error_for_status
from chat_sessions.http.calls import read_error, retry_delay
from chat_sessions.llama_cloud.wire import create_call, summary_call

READ, CREATE = summary_call("ses-1"), create_call(None, None)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "Mon, 01 Jan 2024 00:00:00 +9999999999999999"}, None),
        ({"retry-after": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, None),
        ({}, None),
    ],
)
def test_the_wait_that_a_service_asks_for_is_read(headers: dict[str, str], seconds: float | None) -> None:
    error = read_error(READ, 429, httpx.Headers(headers), b"")
    assert isinstance(error, RateLimitError)
    assert error.retry_after == seconds


def test_a_wait_given_as_a_date_is_read() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    error = read_error(READ, 429, httpx.Headers({"retry-after": later}), b"")
    assert isinstance(error, RateLimitError)
    assert error.retry_after is not None
    assert 0 < error.retry_after <= 30
    past = read_error(READ, 429, httpx.Headers({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}), b"")
    assert isinstance(past, RateLimitError)
    assert past.retry_after == 0


def refused(retry_after: float | None) -> RateLimitError:
    return RateLimitError("x", status_code=429, retry_after=retry_after)


@pytest.mark.parametrize(
    ("error", "read", "create"),
    [
        (refused(None), True, True),
        (refused(0.0), True, True),
        (refused(12.0), 12.0, 12.0),
        (refused(61.0), False, False),
        (error_for_status(500, None, request=""), True, False),
        (error_for_status(408, None, request=""), True, False),
        (error_for_status(404, None, request=""), False, False),
        (APIConnectionError("x"), True, True),
        (APIConnectionError("x", was_sent=True), True, False),
        (ProtocolError("x"), False, False),
    ],
)
def test_only_what_does_no_harm_is_sent_again(error: Exception, read: float, create: float) -> None:
    assert retry_delay(READ, error) == read
    assert retry_delay(CREATE, error) == create


def test_an_error_whose_body_is_no_json_is_told_as_text() -> None:
    assert "(<html>\ufffd)" in str(read_error(READ, 502, httpx.Headers(), b"<html>\xff"))
