"""A turn's requests and its websocket take the same way: through a proxy, TLS and a gateway. And wrong ways."""

from __future__ import annotations

import select
import socket
import ssl
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from chat_sessions import Timeouts
from chat_sessions.core.errors import APIConnectionError, APIStatusError, AuthenticationError
from tests.faces import do
from tests.openhands.servers.agent_server import AgentServer
from tests.openhands.servers.model_server import ModelServer
from tests.openhands.servers.proxy import Proxy
from tests.proxy_server import ProxyServer

pytestmark = pytest.mark.openhands


class Gateway(ProxyServer):
    """Ends TLS before a server, as a gateway does. If it `is_mute`, it says nothing to a handshake of a websocket."""

    is_mute = False

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        super().__init__()
        self._port = port
        self._context = context

    @property
    def url(self) -> str:
        return f"https://{self.address}"

    def _serve(self, plain: socket.socket) -> None:
        with (
            suppress(OSError),
            plain,
            socket.create_connection(("127.0.0.1", self._port)) as far,
            self._context.wrap_socket(plain, server_side=True) as near,
        ):
            self._open += [near, far]
            while True:
                ready = [near] if near.pending() else select.select([near, far], [], [])[0]
                for source in ready:
                    if not (data := source.recv(65536)):
                        return
                    if self.is_mute and b"/sockets/" in data:
                        continue
                    (far if source is near else near).sendall(data)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def gateway(server: AgentServer, authority: trustme.CA) -> Iterator[Gateway]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Gateway(server.port, context) as gateway:
        yield gateway


@pytest.fixture
def certificates(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


async def test_a_turn_goes_through_tls_with_an_authority_of_ones_own(
    server: AgentServer, face: str, gateway: Gateway, certificates: str
) -> None:
    with server.client(base_url=gateway.url, verify=certificates) as made:
        chat: Any = made if face == "sync" else made.aio
        assert (await do(chat.session().ask("TEXT please"))).text == "Plain answer in pieces."
        await do(chat.close())
    with server.client(base_url=gateway.url, max_retries=0) as made:
        chat = made if face == "sync" else made.aio
        with pytest.raises(APIConnectionError, match=r"(?i)certificate"):
            await do(chat.session(str(uuid.uuid4())).ask("TEXT please"))
        await do(chat.close())


async def test_a_gateway_that_is_mute_to_websockets_is_an_error_when_the_time_to_connect_is_over(
    server: AgentServer, face: str, gateway: Gateway, certificates: str
) -> None:
    gateway.is_mute = True
    timeouts = Timeouts(connect=0.5)
    with server.client(base_url=gateway.url, verify=certificates, max_retries=0, timeouts=timeouts) as made:
        chat: Any = made if face == "sync" else made.aio
        with pytest.raises(APIConnectionError, match=r"(?i)timed out|did not"):
            await do(chat.session().ask("TEXT please"))
        await do(chat.close())


async def test_a_turn_goes_through_a_proxy(server: AgentServer, face: str, gateway: Gateway, certificates: str) -> None:
    with (
        ProxyServer(user="me", password="secret") as proxy,
        server.client(base_url=gateway.url, verify=certificates, proxy=f"http://me:secret@{proxy.address}") as made,
    ):
        chat: Any = made if face == "sync" else made.aio
        assert (await do(chat.session().ask("TEXT please"))).text == "Plain answer in pieces."
        # One connection at least for requests, and one for the websocket.
        assert len(proxy.targets) >= 2
        await do(chat.close())


async def test_a_gateways_headers_are_on_the_websocket_too(server: AgentServer, face: str) -> None:
    heads: list[bytes] = []
    with Proxy(server.port) as proxy, server.client(base_url=proxy.url, headers={"X-Gateway": "let-me-in"}) as made:
        proxy.on_request = heads.append
        chat: Any = made if face == "sync" else made.aio
        await do(chat.session().ask("TEXT please"))
        assert any(b"/sockets/" in head for head in heads)
        assert all(b"x-gateway: let-me-in" in head.lower() for head in heads)
        await do(chat.close())


async def test_the_headers_of_an_http_client_are_on_the_websocket_too(server: AgentServer, face: str) -> None:
    heads: list[bytes] = []
    given = {"X-Gateway": "let-me-in", "X-Team": "theirs"}
    async with httpx.AsyncClient(headers=given) as client:
        with (
            Proxy(server.port) as proxy,
            httpx.Client(headers=given) as sync_client,
            server.client(
                base_url=proxy.url, http_client=sync_client, async_http_client=client, headers={"X-Team": "ours"}
            ) as made,
        ):
            proxy.on_request = heads.append
            chat: Any = made if face == "sync" else made.aio
            await do(chat.session().ask("TEXT please"))
            sockets = [head.lower() for head in heads if b"/sockets/" in head]
            assert sockets
            assert all(head.lower().count(b"x-gateway: let-me-in") == 1 for head in heads)
            # Those of the client itself come first, as in requests.
            assert all(b"x-team: ours" in head.lower() and b"theirs" not in head for head in heads)
            await do(chat.close())


async def test_the_certificates_of_an_http_client_are_to_be_given_to_the_client_as_well(
    server: AgentServer, face: str, gateway: Gateway, certificates: str
) -> None:
    context = ssl.create_default_context(cafile=certificates)
    async with httpx.AsyncClient(verify=context) as client:
        with httpx.Client(verify=context) as sync_client:
            clients: Any = {"http_client": sync_client, "async_http_client": client, "base_url": gateway.url}
            with server.client(**clients, max_retries=0) as made:
                chat: Any = made if face == "sync" else made.aio
                session = chat.session()
                await do(session.create())
                with pytest.raises(APIConnectionError, match="verify= and proxy= as well"):
                    await do(session.ask("TEXT please"))
                await do(chat.close())
            with server.client(**clients, verify=certificates) as made:
                chat = made if face == "sync" else made.aio
                assert (await do(chat.session().ask("TEXT please"))).text == "Plain answer in pieces."
                await do(chat.close())


async def test_the_environments_proxy_and_certificates_are_the_websockets_too(
    server: AgentServer, face: str, gateway: Gateway, certificates: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ProxyServer(user="me", password="secret") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@{proxy.address}")
        monkeypatch.setenv("SSL_CERT_FILE", certificates)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        with server.client(base_url=gateway.url) as made:
            chat: Any = made if face == "sync" else made.aio
            assert (await do(chat.session().ask("TEXT please"))).text == "Plain answer in pieces."
            assert len(proxy.targets) >= 2
            await do(chat.close())
        asked = len(proxy.targets)
        with server.client(base_url=gateway.url, trust_env=False, verify=False) as made:
            chat = made if face == "sync" else made.aio
            assert (await do(chat.session().ask("TEXT please"))).text == "Plain answer in pieces."
            assert len(proxy.targets) == asked
            await do(chat.close())


async def test_a_wrong_key_says_which_key(server: AgentServer, face: str) -> None:
    with server.client(api_key="wrong") as made:
        chat: Any = made if face == "sync" else made.aio
        for ask in (chat.create, chat.session(str(uuid.uuid4())).turns):
            with pytest.raises(AuthenticationError, match="OPENHANDS_API_KEY"):
                await do(ask())
        with pytest.raises(AuthenticationError, match="OPENHANDS_API_KEY"):
            await do(chat.session(str(uuid.uuid4())).ask("TEXT please"))
        await do(chat.close())


@pytest.mark.parametrize("where", ["nothing", "another service", "another path"])
async def test_a_wrong_address_says_that_no_agent_server_is_there(
    server: AgentServer, model: ModelServer, face: str, where: str
) -> None:
    url = {
        "nothing": "http://127.0.0.1:1",
        "another service": model.url.removesuffix("/v1"),
        "another path": f"{server.url}/elsewhere",
    }[where]
    with server.client(base_url=url, max_retries=0) as made:
        chat: Any = made if face == "sync" else made.aio
        with pytest.raises((APIConnectionError, APIStatusError), match="OpenHands Agent Server"):
            await do(chat.session(str(uuid.uuid4()), baseline=False).ask("TEXT please"))
        with pytest.raises((APIConnectionError, APIStatusError), match=r"cannot reach|Agent Server|answered 501"):
            await do(chat.session().create())
        await do(chat.close())
