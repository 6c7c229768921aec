"""An error says what was asked, what came back and what to do, and which class it is by its status."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import JsonValue

from chat_sessions.core import errors
from chat_sessions.core.errors import (
    APIStatusError,
    ChatSessionsError,
    RateLimitError,
    TurnError,
    error_for_status,
    failed_turn,
)
from chat_sessions.core.events import Stop, Text, TextDelta, UserInput
from chat_sessions.core.models import Usage
from chat_sessions.core.turn import Turn, replay


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, errors.APIStatusError),
        (401, errors.AuthenticationError),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
        (409, errors.ConflictError),
        (422, errors.UnprocessableEntityError),
        (429, errors.RateLimitError),
        (500, errors.InternalServerError),
        (503, errors.InternalServerError),
        (307, errors.APIStatusError),
    ],
)
def test_each_status_has_its_error(status: int, expected: type[APIStatusError]) -> None:
    error = error_for_status(status, {"detail": "why"}, request="GET /x", request_id="req-1")
    assert type(error) is expected
    assert (error.status_code, error.body, error.request_id) == (status, {"detail": "why"}, "req-1")
    assert str(error).startswith(f"GET /x answered {status}: ")
    assert str(error).endswith("(why)")


def test_a_rate_limit_says_how_long_to_wait() -> None:
    error = error_for_status(429, None, request="GET /x", retry_after=2.5)
    assert isinstance(error, RateLimitError)
    assert error.retry_after == 2.5


def test_a_redirect_says_that_it_is_not_followed() -> None:
    assert "set base_url to the final address" in str(error_for_status(308, None, request="GET /x"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"detail": [{"loc": ["body", "prompt"], "msg": "too long", "type": "x"}]}, "(body.prompt: too long)"),
        ({"detail": [{"msg": "no place"}, "plain"]}, "(no place; plain)"),
        ({"detail": {"code": 7}}, '({"code": 7})'),
        ({"message": "other shape"}, '({"message": "other shape"})'),
        ("<html>", "(<html>)"),
        ({"detail": "  "}, ""),
        ({}, ""),
        (None, ""),
        ("x" * 10_000, "x…)"),
    ],
)
def test_the_detail_of_any_error_body_is_told_in_one_line(body: JsonValue, said: str) -> None:
    message = str(error_for_status(422, body, request="POST /x"))
    assert message.endswith(said)
    assert len(message) < 700


def test_a_turn_error_carries_the_turn_so_far() -> None:
    turn = Turn("q")
    error = TurnError("cut", turn=turn, session_id="ses-1")
    assert (error.turn, error.session_id, str(error)) == (turn, "ses-1", "cut")


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    printed = re.findall(r"^([│├└─ ]*)([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE)
    path: list[str] = []
    for indent, name in printed:
        if name not in errors.__all__:
            continue
        depth = len(indent) // 4
        path = [*path[:depth], name]
        bases = [base.__name__ for base in getattr(errors, name).__mro__[1:] if base.__name__ in errors.__all__]
        assert bases[: depth or None] == path[:-1][::-1][: depth or None], name
    classes = {name for name in errors.__all__ if name[0].isupper()}
    assert {name for _, name in printed if name in errors.__all__} == classes


def test_a_configuration_error_is_a_value_error_too() -> None:
    assert issubclass(errors.ConfigurationError, ValueError)


@pytest.mark.parametrize(
    ("skipped", "said", "sends_elsewhere"),
    [(["idx-gone"], None, True), (["idx-gone"], "Half an", False), ([], None, False)],
)
def test_a_turn_that_failed_without_an_index_needs_another_session(
    skipped: list[str], said: str | None, sends_elsewhere: bool
) -> None:
    stop = Stop(usage=Usage(), is_error=True, error="it went wrong", skipped_index_ids=skipped)
    (turn,) = replay([stop] if said is None else [Text(content=said), stop])
    error = failed_turn(turn, "ses-1")
    assert str(error).startswith("the turn failed in session ses-1: it went wrong")
    assert ("start a new one" in str(error)) is sends_elsewhere
    assert (error.turn, error.session_id) == (turn, "ses-1")


STATUS: dict[str, Any] = {"status_code": 429, "body": {"detail": "no"}, "request_id": "req-1"}
LEFT: dict[str, Any] = {"turn": replay([UserInput(content="q"), TextDelta(content="Hel")])[0], "session_id": "ses-1"}
KINDS = (errors.TurnFailed, errors.TurnInterrupted, errors.TurnStalled, errors.TurnOutcomeUnknown)
WHOLE: list[ChatSessionsError] = [
    errors.NotFoundError("m", **STATUS),
    RateLimitError("m", **STATUS, retry_after=3.0),
    errors.InternalServerError("m", **STATUS),
    errors.APITimeoutError("m", was_sent=True),
    *(kind("m", **LEFT) for kind in KINDS),
    errors.ConfigurationError("m", "n"),
]


@pytest.mark.parametrize("error", WHOLE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_an_error_comes_whole_out_of_another_process(
    error: ChatSessionsError, again: Callable[[ChatSessionsError], ChatSessionsError]
) -> None:
    error.add_note("in a worker")
    came = again(error)
    assert type(came) is type(error)
    assert (came.args, str(came), vars(came)) == (error.args, str(error), vars(error))
