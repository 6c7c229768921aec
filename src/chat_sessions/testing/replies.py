"""Faults of a whole answer: refused, redirected, lost, or not what it claims to be."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from chat_sessions.testing.fault import Body, Break, Fault, Head, How, exhaust, require

__all__ = ["ErrorWith200", "HtmlPage", "Http10", "LostAnswer", "LostRequest", "Redirect", "Refuse", "WrongContentType"]


@dataclass(frozen=True, slots=True)
class Refuse(Fault):
    """An error status: 409, 429, a 5xx. `retry_after` is in seconds, or the text of the header.

    The service does not get the request, unless `landed`: then a gateway gave up waiting, and the turn runs.
    """

    status: int = 503
    retry_after: float | str | None = None
    landed: bool = False

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        require(400 <= self.status <= 599, self, "status is 400 to 599")

    def reply(self) -> Head:
        wait = () if self.retry_after is None else (("Retry-After", str(self.retry_after)),)
        body = json.dumps({"detail": f"refused with {self.status}"}).encode()
        return Head(self.status, (("Content-Type", "application/json"), *wait), body=body, lands=self.landed)


@dataclass(frozen=True, slots=True)
class HtmlPage(Fault):
    """A page instead of an answer: a proxy's sign-in, with status 200, or its error page."""

    status: int = 200
    page: str = "<!doctype html><title>Sign in</title><p>Sign in to go on."

    def reply(self) -> Head:
        return Head(self.status, (("Content-Type", "text/html; charset=utf-8"),), body=self.page.encode())


@dataclass(frozen=True, slots=True)
class ErrorWith200(Fault):
    """A JSON error with status 200, from a gateway that did not ask the service."""

    error: str = "upstream connect error"

    def reply(self) -> Head:
        body = json.dumps({"error": {"message": self.error}}).encode()
        return Head(200, (("Content-Type", "application/json"),), body=body)


@dataclass(frozen=True, slots=True)
class Redirect(Fault):
    """A redirect, usually to another origin, where a client must not send its key."""

    to: str
    status: int = 307

    def reply(self) -> Head:
        return Head(self.status, (("Location", self.to),), body=b"")


@dataclass(frozen=True, slots=True)
class LostRequest(Fault):
    """The connection ends before the request reaches the service."""

    how: How = "reset"

    def reply(self) -> Head:
        raise Break(self.how)


@dataclass(frozen=True, slots=True)
class LostAnswer(Fault):
    """The request reaches the service, but its answer breaks off `at_byte` bytes into the status line and headers.

    With `finish_first` the service has ended the turn by then, so its session shows all of it.
    """

    how: How = "reset"
    at_byte: int = 0
    finish_first: bool = False

    def __post_init__(self) -> None:
        Fault.__post_init__(self)
        require(self.at_byte >= 0, self, "at_byte is 0 or more")
        require(self.how != "clean", self, "a head has no clean end; use 'fin', 'reset' or 'half_open'")

    async def begin(self, head: bytes, body: Body) -> None:
        if self.finish_first:
            await exhaust(body)
        raise Break(self.how, sent=head[: self.at_byte])


@dataclass(frozen=True, slots=True)
class Http10(Fault):
    """An HTTP/1.0 answer without a length: only the closed connection marks its end."""

    def head(self, head: Head) -> Head:
        return replace(head, version="1.0")


@dataclass(frozen=True, slots=True)
class WrongContentType(Fault):
    """The answer has another content type; "" for none at all."""

    content_type: str = "application/json"

    def head(self, head: Head) -> Head:
        others = tuple(item for item in head.headers if item[0].lower() != "content-type")
        return replace(head, headers=(*others, *((("Content-Type", self.content_type),) if self.content_type else ())))
