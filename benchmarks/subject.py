"""What is measured: a way to read a turn's text, piece by piece."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import httpx

from chat_sessions import LlamaCloudChat

__all__ = ["Bench", "Subject"]

_Made = TypeVar("_Made")


@dataclass
class Bench:
    """The replay server's address, and clients of it that keep their connections.

    `authority` is the file with the certificate of the authority that vouches for an `https` address.
    """

    url: str
    authority: str | None = None
    _made: dict[object, object] = field(default_factory=dict[object, object])

    @cached_property
    def http(self) -> httpx.Client:
        return httpx.Client(verify=self._verify)

    @cached_property
    def async_http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(limits=httpx.Limits(max_connections=None), verify=self._verify)

    @cached_property
    def chat(self) -> LlamaCloudChat:
        return LlamaCloudChat(api_key="benchmark", base_url=self.url, verify=self._verify)

    @cached_property
    def _verify(self) -> ssl.SSLContext | bool:
        return True if self.authority is None else ssl.create_default_context(cafile=self.authority)

    def turn_url(self, plan: str) -> str:
        """Where the Chat API takes a turn of the session `plan`."""
        return f"{self.url}/api/v1/chat/{plan}/messages/stream"

    async def aclose(self) -> None:
        """Close the connections, in the event loop that opened them."""
        self.chat.close()
        await self.chat.aio.close()
        self.http.close()
        await self.async_http.aclose()
        for made in self._made.values():
            if isinstance(made, httpx.AsyncClient):
                await made.aclose()

    def once(self, key: object, make: Callable[[], _Made]) -> _Made:
        """What `make` gave at the first call with this key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]  # type: ignore[return-value]  # the key stands for one thing


@dataclass(frozen=True)
class Subject:
    """A way to read a turn: `sync` and `aio` take a bench and a plan, and give the text as it comes.

    `module` is where it is made, so that another process finds it there by its name.
    """

    name: str
    module: str
    sync: Callable[[Bench, str], Iterator[str]] | None
    aio: Callable[[Bench, str], AsyncIterator[str]] | None
    title: str
