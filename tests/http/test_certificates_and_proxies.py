"""Certificates and proxies, from arguments and from the environment."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from chat_sessions import (
    APIConnectionError,
    APITimeoutError,
    AsyncLlamaCloudChat,
    ConfigurationError,
    LlamaCloudChat,
    Timeouts,
)
from chat_sessions.http.connection import route
from chat_sessions.http.connection.route import Route
from chat_sessions.http.settings import checked_url
from tests.faces import do
from tests.http.test_routes import ask, authority, client_side, server_side, summary, tls
from tests.llama_cloud.test_client import SUMMARY
from tests.proxy_server import ProxyServer
from tests.wire_server import WireServer


def test_a_file_and_a_folder_of_certificates(tmp_path: Path) -> None:
    pem = tmp_path / "ca.pem"
    authority().cert_pem.write_to_path(str(pem))
    with ExitStack() as stack:
        way = tls(stack)
        way.wire.on("GET", "/summary", lambda _, connection: connection.respond(200, SUMMARY))
        for verify in (pem, str(pem), False):
            with LlamaCloudChat(api_key="k", base_url=way.wire.url, verify=verify) as chat:
                assert chat.get_summary("ses-1").session_id == "ses-1"


async def test_certificates_that_the_environment_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_a_proxy_that_the_environment_names_and_one_that_it_excepts(monkeypatch: pytest.MonkeyPatch) -> None:
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
async def test_a_proxy_that_refuses_is_named_without_its_password(scheme: str) -> None:
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
            assert f"the proxy {scheme}://{proxy.address} (set by proxy=) on the way to {wire.url}" in str(caught.value)
            assert not caught.value.was_sent
        assert wire.requests == []


@pytest.fixture
def no_proxy_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address on this machine that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.mark.usefixtures("no_proxy_is_set")
@pytest.mark.parametrize("service", ["http", "https"])
@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
@pytest.mark.parametrize("source", ["proxy=", "{0}_PROXY", "{1}_proxy", "ALL_PROXY"])
async def test_a_proxy_that_is_not_there_is_named_and_the_service_is_not_blamed(
    nobody: str, monkeypatch: pytest.MonkeyPatch, service: str, scheme: str, source: str
) -> None:
    source = source.format(service.upper(), service)
    address = f"{scheme}://some-user:secret-word@{nobody}"
    options: dict[str, Any] = {"proxy": address} if source == "proxy=" else {}
    if not options:
        monkeypatch.setenv(source, address)
    chat = LlamaCloudChat(api_key="k", base_url=f"{service}://svc.test", max_retries=0, **options)
    for face in (chat, chat.aio):
        with pytest.raises(APIConnectionError) as caught:
            await do(face.session("ses-1", index_ids=["i"], baseline=False).ask("q"))
        said = str(caught.value)
        assert (
            f"cannot reach the proxy {scheme}://{nobody} (set by {source}) on the way to {service}://svc.test" in said
        )
        assert "base_url" not in said
        everything = "".join(traceback.format_exception(caught.value))
        assert "some-user" not in everything
        assert "secret-word" not in everything
        assert not caught.value.was_sent


@pytest.mark.usefixtures("no_proxy_is_set")
async def test_a_proxy_that_does_not_begin_tls_in_time_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"https://127.0.0.1:{silent.getsockname()[1]}"
        timeouts = Timeouts(connect=0.2, first_event=60)
        chat = LlamaCloudChat(api_key="k", base_url="https://svc.test", proxy=address, max_retries=0, timeouts=timeouts)
        for face in (chat, chat.aio):
            with pytest.raises(APITimeoutError, match=rf"the proxy {address} \(set by proxy=\) on the way .* in time"):
                await do(face.get_summary("ses-1"))


@pytest.mark.usefixtures("no_proxy_is_set")
async def test_a_service_that_is_not_there_is_named_where_it_is_reached_through_a_proxy(nobody: str) -> None:
    with ProxyServer() as proxy:
        chat = LlamaCloudChat(api_key="k", base_url=f"http://{nobody}", proxy=f"http://{proxy.address}", max_retries=0)
        for face in (chat, chat.aio):
            with pytest.raises(APIConnectionError, match=f"cannot reach http://{nobody}"):
                await do(face.get_summary("ses-1"))


UNUSED: list[tuple[str, dict[str, Any]]] = [
    ("proxy", {"proxy": "http://127.0.0.1:3128"}),
    ("verify", {"verify": False}),
    ("verify", {"verify": ssl.create_default_context()}),
    ("http2", {"http2": True}),
]


@pytest.mark.parametrize(("name", "option"), UNUSED, ids=["proxy", "no verify", "context", "http2"])
def test_a_setting_of_connections_beside_a_client_that_makes_its_own_is_refused(
    name: str, option: dict[str, Any]
) -> None:
    given: list[tuple[Any, str, Any]] = [
        (LlamaCloudChat, "http_client", httpx.Client),
        (LlamaCloudChat, "async_http_client", httpx.AsyncClient),
        (AsyncLlamaCloudChat, "http_client", httpx.AsyncClient),
    ]
    for make, client, kind in given:
        with pytest.raises(ConfigurationError, match=rf"^{name}= has no effect on {client}=.* set it on that client"):
            make(api_key="k", **{client: kind}, **option)


def test_trust_env_is_refused_where_it_would_have_no_effect() -> None:
    both: dict[str, Any] = {"http_client": httpx.Client, "async_http_client": httpx.AsyncClient}
    with pytest.raises(ConfigurationError, match="trust_env= has no effect on http_client="):
        LlamaCloudChat(api_key="k", trust_env=False, **both)
    with pytest.raises(ConfigurationError, match="trust_env= has no effect on http_client="):
        AsyncLlamaCloudChat(api_key="k", trust_env=False, http_client=httpx.AsyncClient)
    # It is for the connections of the async twin.
    LlamaCloudChat(api_key="k", trust_env=False, http_client=httpx.Client)


def test_a_proxys_password_is_secret_in_each_form() -> None:
    secrets = Route("http://svc.test", proxy_url="http://me:p%40ss-word@127.0.0.1:1").secrets
    assert {secret.get_secret_value() for secret in secrets} == {"p@ss-word", "p%40ss-word", "bWU6cEBzcy13b3Jk"}


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_proxy_takes_a_password_in_any_language(scheme: str) -> None:
    with ProxyServer(user="me", password="geöffnet") as proxy, WireServer(tls=server_side()) as wire:
        url = f" {scheme}://me:geöffnet@{proxy.address}\n"
        chat = LlamaCloudChat(api_key="k", base_url=wire.url, proxy=url, verify=client_side())
        wire.on("GET", "/summary", lambda _, connection: connection.respond(200, SUMMARY))
        for face in (chat, chat.aio):
            assert (await do(face.get_summary("ses-1"))).session_id == "ses-1"
            await do(face.close())


class NoSocksProxy(ProxyServer):
    """Says this to whoever speaks SOCKS, and closes."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self._answer = answer

    def _socks(self, client: socket.socket) -> None:
        client.sendall(self._answer)


@pytest.mark.parametrize("answer", [b"", b"\x05", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x05\x00\x05\x63\x00\x01"])
async def test_a_socks_proxy_that_closes_or_is_none_is_a_connection_error(
    answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with NoSocksProxy(answer) as proxy:
        url = f"socks5://me:hidden@{proxy.address}"
        chat = LlamaCloudChat(api_key="k", base_url="https://service.test", proxy=url, max_retries=0)
        for face in (chat, chat.aio):
            with pytest.raises(APIConnectionError, match="proxy") as caught:
                await do(face.session("ses-1", index_ids=["i"]).ask("q"))
            assert not caught.value.was_sent
            assert "hidden" not in "".join(traceback.format_exception(caught.value))
            assert "setup_socks5_connection" in caplog.text
            assert "hidden" not in caplog.text


# httpcore leaves the socket to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_so_is_the_socks_proxy_of_an_injected_client() -> None:
    with NoSocksProxy(b"") as proxy, httpx.Client(proxy=f"socks5://{proxy.address}") as mine:
        chat = LlamaCloudChat(api_key="k", base_url="https://service.test", http_client=mine, max_retries=0)
        with pytest.raises(APIConnectionError, match="does not speak SOCKS"):
            chat.get_summary("ses-1")


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
@pytest.mark.parametrize("act", [summary, ask])
async def test_a_proxy_that_says_nothing_ends_with_the_deadline_for_connecting(
    scheme: str, act: Callable[[Any], Any]
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
        ({"proxy": "http://me:hidden@"}, "proxy is not the address of a proxy"),
        ({"proxy": "http://me:hidden@xn--a:3128"}, "proxy is not the address of a proxy"),
        ({"proxy": "http://me:hidden@127.0.0.1:-1"}, "proxy is not the address of a proxy"),
        ({"proxy": "http://me:hidden@127.0.0.1:99999"}, "proxy is not the address of a proxy"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(options: dict[str, Any], said: str) -> None:
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
    monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any], said: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(route, "find_spec", lambda wanted: None if wanted == name else "spec")
    with pytest.raises(ConfigurationError, match=said):
        LlamaCloudChat(api_key="k", **options)


@pytest.mark.parametrize(
    ("scheme", "name", "value", "said"),
    [
        ("http", "HTTP_PROXY", "ftp://me:hidden@127.0.0.1:1", "names a proxy of the kind 'ftp'"),
        ("http", "ALL_PROXY", "socks://me:hidden@127.0.0.1:1", "names a proxy of the kind 'socks'"),
        ("http", "HTTP_PROXY", "http://me:hid#den@127.0.0.1:1", "is not the address of a proxy"),
        ("https", "HTTPS_PROXY", "http://me:hidden@a..b:1", "is not the address of a proxy"),
        ("https", "ALL_PROXY", "http://me:hidden@xn--a:1", "is not the address of a proxy"),
        ("https", "SSL_CERT_FILE", "/no/such/file.pem", "cannot be read"),
        ("https", "SSL_CERT_FILE", __file__, "cannot be read"),
        ("https", "SSL_CERT_DIR", "/no/such/folder", "cannot be read"),
    ],
)
async def test_variables_that_name_nothing_usable_are_named(
    monkeypatch: pytest.MonkeyPatch, scheme: str, name: str, value: str, said: str
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
            for frame, _ in traceback.walk_tb(caught.value.__traceback__):
                assert frame.f_code.co_filename == __file__ or "hid" not in repr(frame.f_locals)


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


@pytest.mark.parametrize("verify", [True, "the certificates"])
@pytest.mark.parametrize("file", ["no/such/folder/keys", "."])
def test_a_file_for_the_keys_of_connections_that_cannot_be_written_is_not_taken_for_certificates(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str, *, verify: bool | str
) -> None:
    if isinstance(verify, str):
        verify = str(tmp_path / "ca.pem")
        authority().cert_pem.write_to_path(verify)
    route._ssl_context.cache_clear()
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / file))
    with pytest.raises(ConfigurationError, match=r"^SSLKEYLOGFILE names a file that cannot be written: .*; unset it$"):
        Route("https://service.test", verify).ssl_context()
    monkeypatch.delenv("SSLKEYLOGFILE")
    Route("https://service.test", verify).ssl_context()


@pytest.mark.parametrize("given", ["proxy", "base_url"])
@pytest.mark.parametrize(
    "address", ["http://[::1", "http://127.0.0.1:port", "http://xn--a", "http://a..b", "http://h\nx"]
)
def test_a_crash_report_can_show_the_variables_of_an_address_that_cannot_be_used(given: str, address: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Route(address, proxy_url=address).checked() if given == "proxy" else checked_url(f"{address}/x", suffix="/api")
    report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert f"{caught.value}" in "".join(report.format())
    assert caught.value.__context__ is None


def test_clients_share_the_context_of_the_usual_certificates() -> None:
    assert Route("https://a.test").ssl_context() is Route("https://b.test").ssl_context()


async def test_an_async_client_says_that_trio_will_not_do(tmp_path: Path) -> None:
    chat = LlamaCloudChat(api_key="k", base_url="http://127.0.0.1:9").aio

    def under_trio() -> None:
        for act in (lambda: chat.get_summary("ses-1"), lambda: chat.session("ses-1", index_ids=["i"]).ask("q")):
            with pytest.raises(ConfigurationError, match="under asyncio only"):
                trio.run(act)

    await asyncio.to_thread(under_trio)
