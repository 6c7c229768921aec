"""What the sync and the async client share: settings, checks, and the building of requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import httpx
from pydantic import SecretStr

from chat_sessions.core.errors import APIConnectionError, APIStatusError, ConfigurationError
from chat_sessions.core.models import ImageAttachment
from chat_sessions.http.calls import NOT_SENT, Call, frameless, reason, transport_error, unwritable
from chat_sessions.http.secrets import secrets_in
from chat_sessions.openhands.confirmation import OnConfirmation
from chat_sessions.openhands.json_values import JsonObject
from chat_sessions.openhands.settings import Settings, check_prompt
from chat_sessions.openhands.sockets import SocketKind
from chat_sessions.openhands.wire import read_object, refusal
from chat_sessions.session.backend import ConnectionLost, DeadlinePassed
from chat_sessions.session.deadlines import EventClock, Timeouts

__all__ = ["ClientBase", "Interruption", "no_attachments", "remaining", "was_not_sent"]

_READ_BACK_TIMEOUT = 10.0

# "interrupted": the run has ended at once. "paused": it ends after the model's call that is under way.
Interruption: TypeAlias = Literal["interrupted", "paused"]


class ClientBase:
    """A client without its connections."""

    _settings: Settings
    _on_confirmation: OnConfirmation | None
    _kinds: tuple[SocketKind, ...]

    def __repr__(self) -> str:
        if not hasattr(self, "_settings"):
            # A traceback with local variables shows what could not be made.
            return f"<{type(self).__name__} without settings>"
        return f"{type(self).__name__}(base_url={self._settings.base_url!r})"

    @property
    def service(self) -> str:
        """The service's name: "openhands"."""
        return "openhands"

    @property
    def base_url(self) -> str:
        """The server's address, without `/api`."""
        return self._settings.base_url

    @property
    def timeouts(self) -> Timeouts:
        """The deadlines of this client's turns and requests."""
        return self._settings.timeouts

    @property
    def index_ids(self) -> tuple[str, ...]:
        """Empty: an agent server knows no indexes."""
        return ()

    def queue_key(self, session_id: str) -> tuple[str, ...]:
        """What makes a session the same one for every client of this process."""
        return (self.service, self._settings.base_url, session_id)

    def check_turn(self, prompt: str, index_ids: Sequence[str] | None) -> None:
        """Raise `ConfigurationError` for a turn that cannot be sent."""
        check_prompt(prompt)
        self._check_indexes(index_ids)

    @staticmethod
    def _check_indexes(index_ids: Sequence[str] | None) -> None:
        if index_ids:
            raise ConfigurationError("an OpenHands agent server has no indexes: leave index_ids out")

    @staticmethod
    def _check_page_size(page_size: int | None) -> None:
        if page_size is not None and page_size < 1:
            raise ConfigurationError(f"page_size must be 1 or more; got {page_size}")

    def _found(self, kind: SocketKind) -> None:
        """Note which websocket the server has, so that the next turn does not look for the other."""
        self._kinds = ("events",) if kind == "events" else self._kinds

    def _answer_limit(self, limit: float | None) -> float | None:
        """Seconds for a request that is no turn; those given are the most that a look-up may take."""
        answer = self._settings.timeouts.first_event
        if limit is None:
            return answer
        return min(limit, _READ_BACK_TIMEOUT if answer is None else min(answer, _READ_BACK_TIMEOUT))

    def _request(self, client: httpx.Client | httpx.AsyncClient, call: Call, answer: float | None) -> httpx.Request:
        timeouts = self._settings.timeouts
        try:
            return client.build_request(
                call.method,
                self._settings.base_url + call.path,
                params=dict(call.params),
                json=call.body,
                headers=self._settings.request_headers(),
                timeout=httpx.Timeout(answer, connect=timeouts.connect, pool=timeouts.connect),
            )
        except (httpx.InvalidURL, TypeError, ValueError) as error:
            problem = unwritable(call, error)
        # Not from the error, which may hold the whole body.
        raise problem

    def _read_object(self, call: Call, content: bytes) -> JsonObject:
        return read_object(call, content, secrets=self._secrets(call))

    def _refusal(self, call: Call, response: httpx.Response, start: bytes) -> APIStatusError:
        """The error for an answer that is no success; `start` is the beginning of its body."""
        return refusal(call, response, start, secrets=self._secrets(call))

    def _secrets(self, call: Call) -> tuple[SecretStr, ...]:
        return (*self._settings.secrets, *secrets_in(dict(call.body or {})))

    def _send_error(self, call: Call, error: httpx.RequestError, clock: EventClock) -> Exception:
        """The error for a message that found no answer: it may have been taken, unless no byte of it left."""
        if isinstance(error, NOT_SENT):
            return transport_error(call, error, self.base_url)
        frameless(error)
        if isinstance(error, httpx.TimeoutException):
            return DeadlinePassed(clock.describe())
        return ConnectionLost(f"the connection broke ({reason(error)})")


def remaining(limit: float | None) -> Callable[[], float | None]:
    """What is left of a limit that begins now."""
    if limit is None:
        return lambda: None
    end = time.monotonic() + limit
    return lambda: max(0.0, end - time.monotonic())


def was_not_sent(error: Exception) -> bool:
    """Whether a websocket could not be opened for a reason that may pass."""
    return isinstance(error, APIConnectionError)


def no_attachments(attachment: ImageAttachment) -> ConfigurationError:
    """The error for an image of another service."""
    return ConfigurationError(
        f"an OpenHands agent server has no attachments; {attachment.attachment_name!r} is not one"
    )
