"""What the sync and the async client share: settings, checks, and the building of requests."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import httpx
from pydantic import BaseModel

from chat_sessions.core.errors import APIStatusError, ConfigurationError
from chat_sessions.core.models import ImageAttachment
from chat_sessions.http.calls import Call, read_error, read_model, retry_delay, unwritable
from chat_sessions.llama_cloud.settings import Settings
from chat_sessions.llama_cloud.wire import attachment_call
from chat_sessions.session.deadlines import Timeouts

__all__ = ["ClientBase", "remaining"]

_READ_BACK_TIMEOUT = 10.0
_LONGEST_WAIT = 8.0

_Model = TypeVar("_Model", bound=BaseModel)


def remaining(seconds: float | None) -> Callable[[], float | None]:
    """A deadline that many seconds from now, as a function of what is left of it."""
    if seconds is None:
        return lambda: None
    over = time.monotonic() + seconds
    return lambda: max(0.0, over - time.monotonic())


class ClientBase:
    """A client without its connections."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __repr__(self) -> str:
        if not hasattr(self, "_settings"):
            # A traceback with local variables shows what could not be made.
            return f"<{type(self).__name__} without settings>"
        given = {"project_id": self._settings.project_id, "organization_id": self._settings.organization_id}
        extra = "".join(f", {name}={value!r}" for name, value in given.items() if value is not None)
        return f"{type(self).__name__}(base_url={self._settings.base_url!r}{extra})"

    @property
    def service(self) -> str:
        """The service's name: "llama_cloud"."""
        return "llama_cloud"

    @property
    def base_url(self) -> str:
        """The service's address, without `/api/v1`."""
        return self._settings.base_url

    @property
    def timeouts(self) -> Timeouts:
        """The deadlines of this client's turns and requests."""
        return self._settings.timeouts

    @property
    def index_ids(self) -> tuple[str, ...] | None:
        """The indexes of sessions that have none of their own."""
        return self._settings.index_ids

    def queue_key(self, session_id: str) -> tuple[str, ...]:
        """What makes a session the same one for every client of this process."""
        return (self.service, self._settings.base_url, session_id)

    def check_turn(self, prompt: str, index_ids: Sequence[str] | None) -> None:
        """Raise `ConfigurationError` for a turn that the service would refuse."""
        self._settings.check_prompt(prompt)
        self._settings.check_indexes(index_ids)

    def _request(
        self, client: httpx.Client | httpx.AsyncClient, call: Call, *, answer: float | None, accept: str | None = None
    ) -> httpx.Request:
        """A request that may be silent for `answer` seconds."""
        if client.is_closed:
            raise ConfigurationError("the http_client that this client was given is closed")
        connect = self._settings.timeouts.connect
        connect = answer if connect is None else connect if answer is None else min(connect, answer)
        headers = self._settings.request_headers()
        if accept is not None:
            # A compressed stream is a buffered stream, with most proxies.
            headers |= {"Accept": accept, "Accept-Encoding": "identity", "Cache-Control": "no-store"}
        try:
            return client.build_request(
                call.method,
                self._settings.base_url + call.path,
                params={**call.params, **self._settings.scope},
                json=call.body,
                headers=headers,
                timeout=httpx.Timeout(answer, connect=connect, pool=connect),
            )
        except (httpx.InvalidURL, TypeError, ValueError) as error:
            problem = unwritable(call, error)
        # Not from the error, which may hold the whole body.
        raise problem

    def _answer_timeout(self, limit: float | None = None) -> float | None:
        """How long a plain request may take, in seconds; with a `limit`, one that reads a broken turn's session."""
        answer = self._settings.timeouts.first_event
        if limit is None:
            return answer
        return min(limit, _READ_BACK_TIMEOUT if answer is None else min(answer, _READ_BACK_TIMEOUT))

    def _turn_timeout(self) -> float | None:
        timeouts = self._settings.timeouts
        bounds = [bound for bound in (timeouts.first_event, timeouts.total) if bound is not None]
        return min(bounds, default=None)

    @staticmethod
    def _longest_wait(total: float | None) -> float:
        """The longest wait between two tries, in seconds, where all may take `total`."""
        return _LONGEST_WAIT if total is None else min(_LONGEST_WAIT, total / 4)

    def _retry_on(self, call: Call, total: float | None) -> Callable[[Exception], bool | float]:
        """Whether and when to try again: not where `total` seconds from now would be over before that."""
        left = remaining(total)

        def on(error: Exception) -> bool | float:
            wait = retry_delay(call, error)
            time_left = left()
            if wait is False or time_left is None:
                return wait
            return wait if (self._longest_wait(total) if wait is True else wait) < time_left else False

        return on

    def _refusal(self, call: Call, response: httpx.Response, start: bytes) -> APIStatusError:
        return read_error(call, response.status_code, response.headers, start, secrets=self._settings.secrets)

    def _read(self, call: Call, content: bytes, model: type[_Model]) -> _Model:
        return read_model(call, content, model, secrets=self._settings.secrets)

    def _attachment_call(self, attachment: ImageAttachment) -> Call:
        self._settings.check_attachment(attachment.attachment_name)
        return attachment_call(attachment)

    @staticmethod
    def _check_page_size(page_size: int | None) -> None:
        if page_size is not None and page_size < 1:
            raise ConfigurationError(f"page_size must be 1 or more; got {page_size}")
