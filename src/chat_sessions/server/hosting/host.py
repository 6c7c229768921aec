"""Runs the Chat API on this machine: in a thread beside the caller, or in the foreground."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import errno
import ipaddress
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server.api.app import create_app
from chat_sessions.server.documents.library import IndexSource, Library
from chat_sessions.server.hosting.workers import Workers, can_fork, when_readable
from chat_sessions.server.store.database import address_of
from chat_sessions.server.store.store import Store
from chat_sessions.server.turns.agent import Agent
from chat_sessions.server.turns.behaviour import Behaviour
from chat_sessions.server.turns.limits import Limits

if TYPE_CHECKING:
    from chat_sessions.testing import Fault, Faults

__all__ = ["ServerThread", "serve"]

_LOOPBACK = "127.0.0.1"
# Connections whose client does not read any more are cut after this many seconds.
_CLOSE_TIMEOUT = 1
# A second Ctrl-C is noticed within this many seconds, as uvicorn notices the first.
_TICK = 0.1
# A worker that has not ended this many seconds after its drain is killed.
_END_MARGIN = 20.0

# Without a handler somewhere, Python prints warnings and tracebacks to the terminal.
for _name in ("uvicorn", "chat_sessions"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class ServerThread:
    """The Chat API on 127.0.0.1, in a thread with an event loop of its own.

    ```python
    with ServerThread(indexes={"idx-docs": "docs/"}) as server:
        ...  # server.url, server.api_key
    ```

    `port` 0 takes a free one. `faults` are what goes wrong with its answers (see
    `chat_sessions.testing`); without them, nothing stands before the server. The other
    arguments are those of `create_app`. `start` (or the `with`) raises `ConfigurationError` for a
    port that is taken and for a store that cannot be opened, and what the documents raise that
    cannot be read; nothing stays behind then.
    """

    def __init__(
        self,
        *,
        indexes: Mapping[str, IndexSource],
        agent: Agent | None = None,
        store: str | None = None,
        api_key: str | SecretStr | None = None,
        behaviour: Behaviour | None = None,
        faults: Sequence[Fault | Sequence[Fault]] | None = None,
        port: int = 0,
        attachment_lifetime: float = 3600.0,
        limits: Limits | None = None,
    ) -> None:
        # A traceback may show local variables.
        api_key = SecretStr(api_key) if isinstance(api_key, str) else api_key
        self._app = create_app(
            indexes=indexes,
            agent=agent,
            store=store,
            api_key=api_key,
            behaviour=behaviour,
            attachment_lifetime=attachment_lifetime,
            limits=limits,
            drain=0,
        )
        self._index_ids = tuple(indexes)
        self._faults = None if faults is None else _script(faults)
        self._wanted_port = port
        self._port: int | None = None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def api_key(self) -> str:
        """The bearer key that requests must carry."""
        return str(self._app.state.api_key)

    @property
    def index_ids(self) -> tuple[str, ...]:
        """The ids of the indexes that it serves."""
        return self._index_ids

    @property
    def faults(self) -> Faults:
        """The script of faults, and what it saw. Raises `ConfigurationError` for a server made without `faults`."""
        if self._faults is None:
            raise ConfigurationError("this server has no faults: make it with faults=[...], an empty list will do")
        return self._faults

    @property
    def port(self) -> int:
        """The port it listens on. Raises `ConfigurationError` before `start`."""
        if self._port is None:
            raise ConfigurationError("the server is not running; use it in a with statement, or call start() first")
        return self._port

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end. Raises `ConfigurationError` before `start`."""
        return f"http://{_LOOPBACK}:{self.port}"

    def start(self) -> Self:
        """Starts the server and gives it back when it listens; does nothing to a running one."""
        if self._closed:
            raise ConfigurationError("the server was closed; make a new one")
        if self._thread is not None:
            return self
        listener = _listen(_LOOPBACK, self._wanted_port)
        started: Future[None] = Future()
        self._server = _Server(self._app, on_listening=lambda: started.set_result(None))
        self._thread = threading.Thread(
            target=self._run, args=(self._server, listener, started), name="chat-sessions-server", daemon=True
        )
        self._thread.start()
        try:
            started.result()
        except BaseException:
            self.close()
            raise
        self._port = listener.getsockname()[1]
        _running.add(self)
        return self

    def close(self) -> None:
        """Ends the server: running turns are closed as errors, open streams end. May be called again."""
        self._closed = True
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
            self._thread = None
            _running.discard(self)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if not hasattr(self, "_closed"):
            return f"<{type(self).__name__} that could not be made>"
        state = "closed" if self._closed else "not started" if self._port is None else self.url
        return f"<{type(self).__name__} {state}>"

    def _run(self, server: _Server, listener: socket.socket, started: Future[None]) -> None:
        try:
            asyncio.run(server.run_app(listener) if self._faults is None else self._run_behind(server, listener))
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            else:
                logging.getLogger(__name__).exception("the server failed")
        finally:
            listener.close()

    async def _run_behind(self, server: _Server, listener: socket.socket) -> None:
        """Runs the server on a port of its own, with the faults on the one that clients know."""
        from chat_sessions.testing import FaultProxy

        with contextlib.closing(_listen(_LOOPBACK, 0)) as inner:
            async with FaultProxy(listener, inner.getsockname()[1], self.faults):
                await server.run_app(inner)


def _script(faults: Sequence[Fault | Sequence[Fault]]) -> Faults:
    from chat_sessions.testing import Faults

    return Faults(*faults)


_running: set[ServerThread] = set()


def _close_all() -> None:
    """Closes the servers that nobody closed: their threads, daemons, would be killed with the stores left behind."""
    for server in list(_running):
        server.close()


# When `atexit` calls, executors take no more work and, from Python 3.12 on, no thread can be started; closing
# needs both. `concurrent.futures` ends its executors with this hook, of which the last registered comes first.
_call_at_exit: Callable[[Callable[[], None]], object] = getattr(threading, "_register_atexit", atexit.register)
_call_at_exit(_close_all)


def serve(
    *,
    indexes: Mapping[str, IndexSource],
    agent: Agent | None = None,
    store: str | None = None,
    api_key: str | SecretStr | None = None,
    behaviour: Behaviour | None = None,
    host: str = _LOOPBACK,
    port: int = 8765,
    attachment_lifetime: float = 3600.0,
    limits: Limits | None = None,
    drain: float = 10.0,
    workers: int = 1,
    on_listening: Callable[[str, str], None] | None = None,
) -> None:
    """Serves in the foreground until SIGINT or SIGTERM; then gives running turns `drain` seconds to end.

    A second SIGINT ends it at once. `on_listening` is called with the base URL and the API key
    when the server listens. Must run in the main thread, whose signals it takes for the time.

    `workers` are processes that share a `store` on PostgreSQL. Documents are read once, before the processes
    are forked; each then notices changes by itself. The agent is forked with them: it must hold no threads and
    no connections before its first turn. A worker that dies is replaced.

    Raises `ConfigurationError` for a port that is taken, an address that is not this machine's,
    a store that cannot be opened, several workers on a store that they cannot share, and an address
    beyond this machine without an `api_key` of the caller's own; and what the documents raise that
    cannot be read.
    """
    # A traceback may show local variables.
    api_key = SecretStr(api_key) if isinstance(api_key, str) else api_key
    _check_workers(workers, store)
    if not _is_loopback(host) and api_key is None:
        raise ConfigurationError(
            f"{host} can be reached from other machines: give an api_key of your own, or serve on {_LOOPBACK}"
        )
    listener = _listen(host, port)
    address = _url(host, listener.getsockname()[1])
    with contextlib.closing(listener):
        app = create_app(
            # Here and not in each worker.
            indexes=asyncio.run(Library.open(indexes)).indexes if workers > 1 else indexes,
            agent=agent,
            store=store,
            api_key=api_key,
            behaviour=behaviour,
            attachment_lifetime=attachment_lifetime,
            limits=limits,
            drain=drain,
        )

        def listening() -> None:
            if on_listening is not None:
                on_listening(address, str(app.state.api_key))

        def work(ready: Callable[[], None], lifeline: int) -> None:
            asyncio.run(_Server(app, on_listening=ready).run_app(listener, lifeline=lifeline))

        if workers == 1:
            asyncio.run(_Server(app, on_listening=listening).run_app(listener))
            return
        asyncio.run(_try_store(store))
        Workers(workers, work, listener=listener, patience=drain + _END_MARGIN).run(on_ready=listening)


def _check_workers(workers: int, store: str | None) -> None:
    """Raises `ConfigurationError` for a number of workers that cannot be."""
    if workers < 1:
        raise ConfigurationError(f"workers={workers}: use a number above 0")
    if workers > 1 and not can_fork:
        raise ConfigurationError(
            f"workers={workers}: this system cannot fork processes; start several servers, each on a port of its own, "
            "with one store on PostgreSQL and one api_key"
        )
    if workers > 1 and (store is None or address_of(store).get_backend_name() != "postgresql"):
        raise ConfigurationError(
            f"workers={workers}: several processes need a store that they can share; give one on PostgreSQL, such as "
            "postgresql://user@host/database"
        )


async def _try_store(url: str | None) -> None:
    """Opens the store once, so that what is wrong with it is told once and by the caller's own process."""
    await (await Store.open(url)).close()


class _Server(uvicorn.Server):
    """uvicorn, with the application's lifespan around it and its turns ended before its connections."""

    def __init__(self, app: Starlette, *, on_listening: Callable[[], None]) -> None:
        # The lifespan is run here and not by uvicorn, which would log an error and exit: a caller
        # gets the exception itself.
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                ws="none",
                timeout_graceful_shutdown=_CLOSE_TIMEOUT,
            )
        )
        self._application = app
        self._on_listening = on_listening

    async def run_app(self, listener: socket.socket, *, lifeline: int | None = None) -> None:
        """Serves until a signal comes, or until the descriptor `lifeline` can be read."""
        async with self._application.router.lifespan_context(self._application):
            with contextlib.nullcontext() if lifeline is None else when_readable(lifeline, self._end):
                await self.serve(sockets=[listener])

    def _end(self) -> None:
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # First nothing new is taken, so that what sits in front of the server sends it elsewhere;
        # then the turns end, and with them their streams; then uvicorn closes the connections.
        for server in self.servers:
            server.close()
        close_turns = self._application.state.close_turns
        closing = asyncio.create_task(close_turns())
        while not closing.done() and not self.force_exit:
            await asyncio.wait([closing], timeout=_TICK)
        if closing.done():
            closing.result()
        else:
            closing.cancel()
            await asyncio.wait([closing])
            await close_turns(0.0)
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 (uvicorn's signature)
        # Unlike uvicorn's own, this does not raise the signal again when the server has ended:
        # the caller goes on, and the store is closed.
        self.force_exit = self.force_exit or (self.should_exit and sig == signal.SIGINT)
        self.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address. Bound before anything is opened: a second server on the same
    port must not touch the first one's store."""
    if not 0 <= port <= 65535:
        raise ConfigurationError(f"port {port} is not between 0 and 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ConfigurationError(f"the host {host!r} is not known: {error.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    try:
        # On Windows the option means that two servers may share the port.
        if os.name == "posix":  # pragma: no branch
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            reason = f"port {port} is already in use on {host}; choose another, or 0 for a free one"
        elif error.errno == errno.EACCES:
            reason = f"port {port} may not be used by this user; choose one above 1023"
        else:
            reason = f"cannot listen on {host} port {port}: {error.strerror}"
        raise ConfigurationError(reason) from None
    return listener


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
