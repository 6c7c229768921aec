"""The Chat API in a thread of the caller's process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Never, Self

from pydantic import SecretStr

from chat_sessions.core.arguments import refuse_unknown
from chat_sessions.core.errors import ConfigurationError
from chat_sessions.server.api.app import create_app
from chat_sessions.server.arguments import require_kind
from chat_sessions.server.documents.indexes import Index
from chat_sessions.server.documents.library import IndexSource
from chat_sessions.server.hosting._compat import call_at_exit
from chat_sessions.server.hosting.listener import LOOPBACK, check_port, listen, url_of
from chat_sessions.server.hosting.server import Server
from chat_sessions.server.turns.agent import Agent
from chat_sessions.server.turns.behaviour import Behaviour
from chat_sessions.server.turns.limits import Limits

if TYPE_CHECKING:
    from chat_sessions.testing.fault import Fault
    from chat_sessions.testing.script import Faults

__all__ = ["ServerThread"]

# Lines in a warning.
_SHOWN = 5


class ServerThread:
    """The Chat API on 127.0.0.1, in a thread with an event loop of its own.

    ```python
    with ServerThread(indexes={"idx-docs": "docs/"}) as server:
        ...  # server.url, server.api_key
    ```

    With `port` 0 it takes a free one. `faults` is what goes wrong with its answers (see `chat_sessions.testing`);
    without it, nothing is in front of the server. The other arguments are those of `create_app`, and an argument that
    cannot be served is a `ConfigurationError` at once. `start` (or the `with`) raises `ConfigurationError` for a port
    that is in use and for a store that cannot be opened, and raises what unreadable documents raise; nothing is left
    running then. Where only some can't be read, it warns with a `UserWarning`, and `warnings` names each file with the
    reason.
    """

    def __init__(
        self,
        indexes: Mapping[str, IndexSource] | None = None,
        *,
        agent: Agent | None = None,
        store: str | None = None,
        api_key: str | SecretStr | None = None,
        behaviour: Behaviour | None = None,
        faults: Sequence[Fault | Sequence[Fault]] | None = None,
        port: int = 0,
        attachment_lifetime: float = 3600.0,
        limits: Limits | None = None,
        index_store: str | PathLike[str] | None = None,
        **unknown: Never,
    ) -> None:
        for name in unknown:
            refuse_unknown(type(self).__name__, name, _ARGUMENTS, otherwise=f"has no argument {name}")
        # A traceback may show local variables.
        api_key = SecretStr(api_key) if isinstance(api_key, str) else api_key
        require_kind("faults", faults, Iterable, what="a list of the faults of chat_sessions.testing")
        check_port(port)
        app = create_app(
            indexes={} if indexes is None else indexes,
            agent=agent,
            store=store,
            api_key=api_key,
            behaviour=behaviour,
            attachment_lifetime=attachment_lifetime,
            limits=limits,
            index_store=index_store,
            drain=0,
        )
        self._api_key = SecretStr(app.state.api_key)
        self._app = app
        self._server = Server(app)
        self._index_ids = tuple(indexes or ())
        self._opened_here = [name for name, source in (indexes or {}).items() if not isinstance(source, Index)]
        self._faults: Faults | None = None
        if faults is not None:
            from chat_sessions.testing.script import Faults

            self._faults = Faults(*faults)
        self._wanted_port = port
        self._port: int | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def api_key(self) -> str:
        """The bearer key that requests must carry."""
        return self._api_key.get_secret_value()

    @property
    def index_ids(self) -> tuple[str, ...]:
        """The ids of the indexes that it serves."""
        return self._index_ids

    @property
    def faults(self) -> Faults:
        """The script of faults, and what it saw. Raises `ConfigurationError` for a server made without `faults`."""
        if self._faults is None:
            raise ConfigurationError("this server was made without faults: pass faults=[...]; an empty list is enough")
        return self._faults

    @property
    def port(self) -> int:
        """The port that it listens on. Raises `ConfigurationError` before `start` and after `close`."""
        if self._closed:
            raise ConfigurationError("this server is closed; make a new one")
        if self._port is None:
            raise ConfigurationError("the server is not running; use it in a with statement, or call start() first")
        return self._port

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end. Raises `ConfigurationError` before `start`."""
        return url_of(LOOPBACK, self.port)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be read, in part or as a whole, and why: one line per file. Empty before `start`.

        An `Index` that you opened yourself has its own `warnings`, and is not among them.
        """
        context = self._app.state.context
        indexes = {name: context.library.indexes[name] for name in self._opened_here} if context else {}
        return tuple(f"{name}: {line}" for name, index in indexes.items() for line in index.warnings)

    def start(self) -> Self:
        """Start the server, and return it once it listens. Does nothing if it is running."""
        return self._start()

    def _start(self) -> Self:
        if self._closed:
            raise ConfigurationError("the server was closed; make a new one")
        if self._thread is not None:
            return self
        listener = listen(LOOPBACK, self._wanted_port)
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(listener, started), name="chat-sessions-server", daemon=True
        )
        self._thread.start()
        try:
            started.result()
            self._warn()
        except BaseException:
            self.close()
            raise
        self._port = listener.getsockname()[1]
        _running.add(self)
        return self

    def _warn(self) -> None:
        """Warn of what could not be read, at the line of the `start` or the `with`."""
        if lines := self.warnings:
            more = f"\n  and {len(lines) - _SHOWN:,} more: see the server's warnings" if len(lines) > _SHOWN else ""
            shown = "".join(f"\n  {line}" for line in lines[:_SHOWN])
            warnings.warn(f"not everything could be read:{shown}{more}", stacklevel=4)

    def close(self) -> None:
        """End the server: running turns end as errors, and so do open streams. May be called again."""
        self._closed = True
        self._server.end()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            _running.discard(self)

    def __enter__(self) -> Self:
        return self._start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if not hasattr(self, "_closed"):
            return f"<{type(self).__name__} that could not be made>"
        state = "closed" if self._closed else "not started" if self._port is None else self.url
        return f"<{type(self).__name__} {state}>"

    def _run(self, listener: socket.socket, started: Future[None]) -> None:
        try:
            asyncio.run(self._serve(listener, started))
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            else:
                logging.getLogger(__name__).exception("the server failed")
        finally:
            listener.close()

    async def _serve(self, listener: socket.socket, started: Future[None]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            if self._faults is not None:
                from chat_sessions.testing.proxy import FaultProxy

                # The proxy takes the port that clients know, and the server another.
                inner = stack.enter_context(contextlib.closing(listen(LOOPBACK, 0)))
                await stack.enter_async_context(FaultProxy(listener, inner.getsockname()[1], self._faults))
                listener = inner
            await self._server.run(listener, on_listening=lambda: started.set_result(None))


_ARGUMENTS = ServerThread.__init__.__annotations__.keys() - {"return", "unknown"}
_running: set[ServerThread] = set()


def _close_all() -> None:
    # Daemon threads are killed at exit, which would leave their stores unclosed.
    for server in list(_running):
        server.close()


call_at_exit(_close_all)
