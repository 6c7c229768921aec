"""The ways to a service: TLS, IPv6, HTTP/2, proxies and uvloop. On each, every end of a turn is what it is."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from chat_sessions import (
    APIConnectionError,
    APITimeoutError,
    AsyncTurnStream,
    ConfigurationError,
    Event,
    LlamaCloudChat,
    Stop,
    Text,
    TextDelta,
    Timeouts,
    TurnInterrupted,
    TurnStalled,
    TurnStream,
    Usage,
)
from chat_sessions.http.settings import Route
from tests.faces import do
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


class TestWhatIsGiven:
    """Certificates and proxies, from arguments and from the environment."""

    def test_a_file_and_a_folder_of_certificates(self, tmp_path: Path) -> None:
        pem = tmp_path / "ca.pem"
        authority().cert_pem.write_to_path(str(pem))
        with ExitStack() as stack:
            way = tls(stack)
            way.wire.on("GET", "/summary", lambda _, connection: connection.respond(200, SUMMARY))
            for verify in (pem, str(pem), False):
                with LlamaCloudChat(api_key="k", base_url=way.wire.url, verify=verify) as chat:
                    assert chat.get_summary("ses-1").session_id == "ses-1"

    async def test_certificates_that_the_environment_names(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pem = tmp_path / "ca.pem"
        authority().cert_pem.write_to_path(str(pem))
        with ExitStack() as stack:
            way = tls(stack)
            way.wire.on("GET", "/summary", lambda _, connection: connection.respond(200, SUMMARY))
            monkeypatch.setenv("SSL_CERT_FILE", str(pem))
            for trust_env in (True, False):
                chat = LlamaCloudChat(api_key="k", base_url=way.wire.url, trust_env=trust_env, max_retries=0)
                for face in (chat, chat.aio):
                    if trust_env:
                        assert (await do(face.get_summary("ses-1"))).session_id == "ses-1"
                    else:
                        with pytest.raises(APIConnectionError, match="CERTIFICATE_VERIFY_FAILED") as caught:
                            await do(face.get_summary("ses-1"))
                        assert not caught.value.was_sent
                    await do(face.close())

    async def test_a_proxy_that_the_environment_names_and_one_that_it_excepts(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with ProxyServer() as proxy, WireServer() as wire:
            wire.on("GET", "/summary", lambda _, connection: connection.respond(200, SUMMARY))
            for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "http_proxy"):
                monkeypatch.delenv(name, raising=False)
            monkeypatch.setenv("HTTP_PROXY", proxy.address)
            monkeypatch.setenv("http_proxy", proxy.address)
            for no_proxy, trust_env, times in (("", True, 2), ("10.0.0.0/8,127.0.0.0/8", True, 0), ("", False, 0)):
                monkeypatch.setenv("NO_PROXY", no_proxy)
                monkeypatch.setenv("no_proxy", no_proxy)
                proxy.targets.clear()
                chat = LlamaCloudChat(api_key="k", base_url=wire.url, trust_env=trust_env)
                for face in (chat, chat.aio):
                    await do(face.get_summary("ses-1"))
                    await do(face.close())
                assert len(proxy.targets) == times

    @pytest.mark.parametrize("scheme", ["http", "socks5"])
    async def test_a_proxy_that_refuses_is_named_without_its_password(self, scheme: str) -> None:
        with ProxyServer(user="me", password="right") as proxy, WireServer(tls=server_side()) as wire:
            chat = LlamaCloudChat(
                api_key="k",
                base_url=wire.url,
                proxy=f"{scheme}://me:wrong-one@{proxy.address}",
                verify=client_side(),
                max_retries=0,
            )
            for face in (chat, chat.aio):
                with pytest.raises(APIConnectionError, match="proxy") as caught:
                    await do(face.session("ses-1", index_ids=["i"]).ask("q"))
                assert "wrong-one" not in "".join(traceback.format_exception(caught.value))
                assert not caught.value.was_sent
            assert wire.requests == []

    @pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
    @pytest.mark.parametrize("act", [summary, ask])
    async def test_a_proxy_that_says_nothing_ends_with_the_deadline_for_connecting(
        self, scheme: str, act: Callable[[Any], Any]
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            chat = LlamaCloudChat(
                api_key="k",
                base_url="https://service.test",
                proxy=f"{scheme}://127.0.0.1:{mute.getsockname()[1]}",
                timeouts=Timeouts(connect=0.2, recovery=0),
                max_retries=0,
            )
            for face in (chat, chat.aio):
                with pytest.raises(APITimeoutError) as caught:
                    await asyncio.wait_for(do(act(face)), 30)
                assert not caught.value.was_sent

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"verify": "/no/such/file.pem"}, r"verify='/no/such/file.pem' cannot be read"),
            ({"proxy": "ftp://127.0.0.1:1"}, "proxy names a proxy of the kind 'ftp'"),
            ({"proxy": "http://[::1"}, "proxy is not the address of a proxy"),
            ({"proxy": "http://me:hidden@a..b:3128"}, "proxy is not the address of a proxy"),
            ({"proxy": "http://me:hidden@"}, "proxy names a proxy"),
        ],
    )
    def test_what_cannot_be_used_is_refused_at_once(self, options: dict[str, Any], said: str) -> None:
        with pytest.raises(ConfigurationError, match=said) as caught:
            LlamaCloudChat(api_key="k", base_url="https://service.test", **options)
        assert "hidden" not in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "options", "said"),
        [
            ("h2", {"http2": True}, r"http2=True needs h2: pip install"),
            ("socksio", {"proxy": "socks5://127.0.0.1:1"}, "which needs socksio: pip install socksio"),
        ],
    )
    def test_what_needs_a_package_says_which(
        self, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any], said: str
    ) -> None:
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.setattr("chat_sessions.http.settings.find_spec", lambda wanted: None if wanted == name else "spec")
        with pytest.raises(ConfigurationError, match=said):
            LlamaCloudChat(api_key="k", **options)

    @pytest.mark.parametrize(
        ("scheme", "name", "value", "said"),
        [
            ("http", "HTTP_PROXY", "ftp://me:hidden@127.0.0.1:1", "names a proxy of the kind 'ftp'"),
            ("http", "ALL_PROXY", "socks://me:hidden@127.0.0.1:1", "names a proxy of the kind 'socks'"),
            ("http", "HTTP_PROXY", "http://me:hid#den@127.0.0.1:1", "is not the address of a proxy"),
            ("https", "HTTPS_PROXY", "http://me:hidden@a..b:1", "is not the address of a proxy"),
            ("https", "SSL_CERT_FILE", "/no/such/file.pem", "cannot be read"),
            ("https", "SSL_CERT_FILE", __file__, "cannot be read"),
            ("https", "SSL_CERT_DIR", "/no/such/folder", "cannot be read"),
        ],
    )
    async def test_variables_that_name_nothing_usable_are_named(
        self, monkeypatch: pytest.MonkeyPatch, scheme: str, name: str, value: str, said: str
    ) -> None:
        for other in ("NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
            monkeypatch.delenv(other, raising=False)
            monkeypatch.delenv(other.lower(), raising=False)
        chat = LlamaCloudChat(api_key="k", base_url=f"{scheme}://service.test", max_retries=0)
        monkeypatch.setenv(name, value)
        for face in (chat, chat.aio):
            for act in (summary, ask):
                with pytest.raises(ConfigurationError, match=f"{name}.* {said}") as caught:
                    await do(act(face))
                assert "hid" not in str(caught.value)


@pytest.mark.parametrize(
    ("excepted", "is_excepted"),
    [
        ("*", True),
        ("service.test", True),
        (".test", True),
        ("*.test", True),
        ("test", True),
        ("vice.test", False),
        ("service.test:80", True),
        ("service.test:81", False),
        (" other.test , service.test ", True),
        ("", False),
        ("::1", False),
    ],
)
def test_no_proxy_excepts_hosts_and_domains(monkeypatch: pytest.MonkeyPatch, excepted: str, is_excepted: bool) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:3128")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, excepted)
    assert (Route("http://service.test").proxy() is None) is is_excepted
    assert Route("http://service.test", trust_env=False).proxy() is None


def test_clients_share_the_context_of_the_usual_certificates() -> None:
    assert Route("https://a.test").ssl_context() is Route("https://b.test").ssl_context()


async def test_an_async_client_says_that_trio_will_not_do(tmp_path: Path) -> None:
    chat = LlamaCloudChat(api_key="k", base_url="http://127.0.0.1:9").aio

    def under_trio() -> None:
        for act in (lambda: chat.get_summary("ses-1"), lambda: chat.session("ses-1", index_ids=["i"]).ask("q")):
            with pytest.raises(ConfigurationError, match="under asyncio only"):
                trio.run(act)

    await asyncio.to_thread(under_trio)
