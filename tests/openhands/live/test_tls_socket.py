"""A websocket over TLS in threads: no frame is lost where both sides talk at once, and no wait outlasts its socket."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import pytest
import trustme
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from chat_sessions.openhands.live.tls_socket import TlsSocket

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.fixture(scope="module")
def contexts() -> Contexts:
    """The contexts of a server and of a client that trusts it."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


def opened(port: int, context: ssl.SSLContext, **options: Any) -> ClientConnection:
    def begun(sock: Any, *arguments: Any, **more: Any) -> ClientConnection:
        made: Any = TlsSocket(sock)
        return ClientConnection(made, *arguments, **more)

    made: ClientConnection = cast("Any", connect)(
        f"wss://127.0.0.1:{port}/", ssl=context, create_connection=begun, **options
    )
    return made


def connected(port: int, context: ssl.SSLContext) -> TlsSocket:
    plain = socket.create_connection(("127.0.0.1", port))
    return TlsSocket(context.wrap_socket(plain, server_hostname="127.0.0.1"))


@contextmanager
def served(handler: Callable[[ServerConnection], None], context: ssl.SSLContext) -> Iterator[int]:
    with serve(handler, "127.0.0.1", 0, ssl=context, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def mute(context: ssl.SSLContext) -> Iterator[int]:
    """A server that makes TLS, whose session tickets come at once, and says nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take() -> None:
            plain, _ = listener.accept()
            with context.wrap_socket(plain, server_side=True) as near, suppress(OSError):
                while near.recv(65536):
                    pass

        thread = threading.Thread(target=take)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_frames_go_both_ways_at_once(contexts: Contexts) -> None:
    large = "x" * 3_000_000

    def answer(connection: ServerConnection) -> None:
        for number in range(20):
            connection.send(f"{number} {large}")
            assert connection.recv() == f"{number} {large}"

    with served(answer, contexts[0]) as port, opened(port, contexts[1], max_size=None) as ours:
        for number in range(20):
            ours.send(f"{number} {large}")
            assert ours.recv() == f"{number} {large}"


def test_a_handshake_that_nobody_answers_ends_with_its_timeout(contexts: Contexts) -> None:
    with mute(contexts[0]) as port, pytest.raises(TimeoutError, match="handshake"):
        opened(port, contexts[1], open_timeout=0.5)


def test_closing_the_socket_ends_a_read_that_waits(contexts: Contexts) -> None:
    with mute(contexts[0]) as port:
        ours = TlsSocket(
            contexts[1].wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1")
        )
        read: list[bytes] = []

        def wait() -> None:
            with suppress(OSError):
                read.append(ours.recv(10))

        thread = threading.Thread(target=wait)
        thread.start()
        ours.close()
        thread.join()
        assert b"".join(read) == b""
        with pytest.raises(OSError, match=r"closed|Bad file"):
            ours.recv(10)


def test_what_is_read_after_a_hang_up_is_not_the_bytes_of_tls(contexts: Contexts) -> None:
    with mute(contexts[0]) as port:
        ours = connected(port, contexts[1])
        # The session tickets are there.
        assert select.select([ours], [], [], 10)[0]
        ours.shutdown(socket.SHUT_RDWR)
        assert ours.recv(10) == b""
        with pytest.raises(OSError, match=r"Broken pipe|EOF"):
            ours.sendall(b"secret")
        ours.close()


def test_a_call_takes_no_longer_than_it_may(contexts: Contexts) -> None:
    with mute(contexts[0]) as port:
        ours = TlsSocket(
            contexts[1].wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1")
        )
        ours.settimeout(0.05)
        with pytest.raises(TimeoutError):
            ours.recv(10)
        ours.close()
