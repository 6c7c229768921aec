"""The ways to a service: TLS, IPv6, HTTP/2, proxies and uvloop. On each, every end of a turn is what it is."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import trustme

from chat_sessions import (
    AsyncLlamaCloudChat,
    AsyncTurnStream,
    Event,
    LlamaCloudChat,
    Stop,
    Text,
    TextDelta,
    Timeouts,
    TurnInterrupted,
    TurnOutcomeUnknown,
    TurnStalled,
    TurnStream,
    Usage,
)
from tests.http2_server import HTTP2WireServer
from tests.llama_cloud.test_client import SUMMARY
from tests.proxy_server import ProxyServer
from tests.wire_server import Connection, Request, WireServer

STOP = Stop(usage=Usage(), is_error=False)


@cache
def authority() -> trustme.CA:
    return trustme.CA()


def server_side(*protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert("127.0.0.1", "localhost").configure_cert(context)
    context.set_alpn_protocols(list(protocols or ["http/1.1"]))
    return context


def client_side() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


@dataclass
class Way:
    """A service, and what a client must be given to reach it."""

    wire: WireServer
    options: dict[str, Any]
    proxy: ProxyServer | None = None

    def client(self, **options: Any) -> LlamaCloudChat:
        return LlamaCloudChat(api_key="k", base_url=self.wire.url, **{**self.options, "max_retries": 0, **options})


def plain(stack: ExitStack) -> Way:
    return Way(stack.enter_context(WireServer()), {})


def ipv6(stack: ExitStack) -> Way:
    return Way(stack.enter_context(WireServer(host="::1")), {})


def tls(stack: ExitStack) -> Way:
    return Way(stack.enter_context(WireServer(tls=server_side())), {"verify": client_side()})


def http2(stack: ExitStack) -> Way:
    wire = HTTP2WireServer(tls=server_side("h2"))
    return Way(stack.enter_context(wire), {"verify": client_side(), "http2": True})


def proxied(scheme: str, *, secure: bool = False, login: str = "") -> Callable[[ExitStack], Way]:
    def make(stack: ExitStack) -> Way:
        way = tls(stack) if secure else plain(stack)
        user, _, password = login.rstrip("@").partition(":")
        way.proxy = stack.enter_context(ProxyServer(user=user, password=password))
        way.options["proxy"] = f"{scheme}://{login}{way.proxy.address}"
        return way

    return make


WAYS: dict[str, Callable[[ExitStack], Way]] = {
    "plain": plain,
    "ipv6": ipv6,
    "tls": tls,
    "http2": http2,
    "http proxy": proxied("http", login="me:secret@"),
    "connect": proxied("http", secure=True, login="me:secret@"),
    "socks": proxied("socks5"),
    "socks tls": proxied("socks5", secure=True, login="me:secret@"),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[Way]:
    with ExitStack() as stack:
        way = WAYS[request.param](stack)
        yield way
        if way.proxy is not None:
            assert set(way.proxy.targets) == {f"127.0.0.1:{way.wire.port}"}


@pytest.fixture(params=["sync", "async", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[Any], Any], LlamaCloudChat], Any]:
    """Calls a function with a face of the client, and waits for it."""

    def in_place(act: Callable[[Any], Any], chat: LlamaCloudChat) -> Any:
        with chat:
            return act(chat)

    def in_loop(act: Callable[[Any], Any], chat: LlamaCloudChat) -> Any:
        async def main() -> Any:
            async with chat.aio:
                return await act(chat.aio)

        if request.param == "uvloop":
            uvloop = pytest.importorskip("uvloop", reason="uvloop runs on no Windows")
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(main())
        return asyncio.run(main())

    return in_place if request.param == "sync" else in_loop


Run = Callable[[Callable[[Any], Any], LlamaCloudChat], Any]


def ask(chat: Any) -> Any:
    return chat.session("ses-1", index_ids=["i"]).ask("q")


def summary(chat: Any) -> Any:
    return chat.get_summary("ses-1")


def answers(_: Request, connection: Connection) -> None:
    connection.start_stream()
    connection.events(*(TextDelta(content=f"{number} ") for number in range(200)))
    connection.events(Text(content="".join(f"{number} " for number in range(200))), STOP)
    connection.end_stream()


def test_a_turn_and_the_next_request_are_answered(way: Way, run: Run) -> None:
    way.wire.on("POST", "/messages/stream", answers)
    way.wire.on("GET", "/summary", lambda _, connection: connection.respond(200, SUMMARY))
    turn = run(ask, way.client())
    assert turn.text.endswith("198 199 ")
    assert run(lambda chat: chat.get_summary("ses-1"), way.client()).session_id == "ses-1"
    assert way.wire.was_left()


def stalls(_: Request, connection: Connection) -> None:
    connection.start_stream()
    connection.events(TextDelta(content="a"))
    connection.wait_until_closed()


def keeps_alive(_: Request, connection: Connection) -> None:
    connection.start_stream()
    connection.events(TextDelta(content="a"))
    connection.keep_alive()


@pytest.mark.parametrize("service", [stalls, keeps_alive])
def test_a_service_that_falls_silent_ends_the_turn_at_its_deadline(
    way: Way, run: Run, service: Callable[[Request, Connection], None]
) -> None:
    way.wire.on("POST", "/messages/stream", service)
    with pytest.raises(TurnStalled) as caught:
        run(ask, way.client(timeouts=Timeouts(idle=0.3, recovery=0)))
    assert caught.value.turn.text == "a"
    assert way.wire.was_left()


def test_a_broken_connection_interrupts_the_turn(way: Way, run: Run) -> None:
    has_read = threading.Event()

    def breaks(_: Request, connection: Connection) -> None:
        connection.start_stream()
        connection.events(TextDelta(content="a"))
        # What a reset overtakes is lost.
        has_read.wait(30)
        connection.reset()

    def read(chat: Any) -> Any:
        stream = chat.stream("ses-1", "q", index_ids=["i"])
        return _read(stream, has_read) if isinstance(stream, AsyncTurnStream) else _sync_read(stream, has_read)

    way.wire.on("POST", "/messages/stream", breaks)
    with pytest.raises(TurnInterrupted) as caught:
        run(read, way.client(timeouts=Timeouts(recovery=0)))
    assert caught.value.turn.text == "a"
    assert len(way.wire.posts()) == 1


def is_silent(_: Request, connection: Connection) -> None:
    connection.wait_until_closed()


def is_reset(_: Request, connection: Connection) -> None:
    connection.reset()


@pytest.mark.parametrize(
    ("service", "said"),
    [(is_silent, r"no event within 0\.3 s of sending the prompt"), (is_reset, "the connection broke")],
)
def test_a_turn_on_a_used_connection_is_posted_once_and_has_its_own_deadline(
    way: Way, run: Run, service: Callable[[Request, Connection], None], said: str
) -> None:
    def ask_second(chat: Any) -> Any:
        return _ask_second(chat) if isinstance(chat, AsyncLlamaCloudChat) else (summary(chat), ask(chat))

    way.wire.on("GET", "/summary", lambda _, connection: connection.respond(200, SUMMARY))
    way.wire.on("GET", "/ses-1", lambda _, connection: connection.respond(200, SUMMARY | {"events": []}))
    way.wire.on("POST", "/messages/stream", service)
    # Connecting has longer, so that this deadline is not taken for it.
    timeouts = Timeouts(connect=10, first_event=0.3, recovery=0)
    with pytest.raises(TurnOutcomeUnknown, match=said):
        run(ask_second, way.client(timeouts=timeouts, max_retries=2))
    assert len(way.wire.posts()) == 1


async def _ask_second(chat: AsyncLlamaCloudChat) -> None:
    await summary(chat)
    await ask(chat)


def test_leaving_early_closes_the_connection(way: Way, run: Run) -> None:
    def leave(chat: Any) -> Any:
        stream = chat.stream("ses-1", "q", index_ids=["i"])
        return _leave(stream) if isinstance(stream, AsyncTurnStream) else _sync_leave(stream)

    way.wire.on("POST", "/messages/stream", stalls)
    assert run(leave, way.client()) == TextDelta(content="a")
    assert way.wire.was_left()


async def _read(stream: AsyncTurnStream, has_read: threading.Event) -> None:
    async with stream:
        async for _ in stream:
            has_read.set()


def _sync_read(stream: TurnStream, has_read: threading.Event) -> None:
    with stream:
        for _ in stream:
            has_read.set()


async def _leave(stream: AsyncTurnStream) -> Event:
    async with stream:
        return await anext(aiter(stream))


def _sync_leave(stream: TurnStream) -> Event:
    with stream:
        return next(iter(stream))
