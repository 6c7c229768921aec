"""An address on loopback for what exporters post to services that cannot be installed."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Generator
from contextlib import contextmanager

from tests.loopback_server import LoopbackHandler, LoopbackServer

__all__ = ["sink"]


@contextmanager
def sink(take: Callable[[str, bytes], None]) -> Generator[str]:
    """Yield the address of a server that hands the path and the body of each request to `take`."""

    class Handler(LoopbackHandler):
        def respond(self) -> None:
            body = b"" if self.command == "GET" else self.body()
            take(self.path, gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body)
            self.answer({})

    server = LoopbackServer(Handler)
    with server.running():
        yield server.url
