"""Where faults happen: a TCP proxy in front of the real server.

ASGI cannot express a reset, a half-open connection or an HTTP/1.0 answer. So the server sends its usual bytes, and this
proxy misbehaves with them. It runs in the server's event loop; a test scripts it from its own thread through `Faults`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import h11

from chat_sessions.testing.ends import ClientEnd, ServiceEnd
from chat_sessions.testing.fault import Break, Fault
from chat_sessions.testing.script import Faults

__all__ = ["FaultProxy"]


class FaultProxy:
    """Accepts connections on `listener`, asks the server on `port`, and applies `faults` to the answers.

    An async context manager; leaving it closes the connections. `listener` stays the caller's.
    """

    def __init__(self, listener: socket.socket, port: int, faults: Faults) -> None:
        self._listener = listener
        self._port = port
        self.faults = faults
        self._connections: dict[asyncio.Task[None], ClientEnd] = {}
        self._holds: set[asyncio.Event] = set()
        self._refused = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self.faults.on_release = lambda: _call(loop, self._release)
        self._server = await asyncio.start_server(self._accept, sock=self._listener)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.faults.on_release = None
        self._server.close()
        while self._connections:
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = ClientEnd(reader, writer)
        task = asyncio.get_running_loop().create_task(self._serve(client))
        self._connections[task] = client
        self.faults.count(connections=1)

        def ended(_: object) -> None:
            del self._connections[task]
            client.close()
            self.faults.count(connections=-1)

        task.add_done_callback(ended)

    async def _serve(self, client: ClientEnd) -> None:
        """Answer the requests of one connection until either side ends it."""
        with suppress(OSError, h11.RemoteProtocolError):
            while (request := await client.next_request()) is not None:
                head, seen = request
                if self._refused:
                    self._refused -= 1
                    client.reset()
                    return
                faults = self.faults.meet(seen)
                answering = asyncio.ensure_future(self._answer(client, head, seen.body, faults))
                leaving = asyncio.ensure_future(client.left())
                try:
                    await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
                    if not (answering.done() and answering.result()):
                        return
                finally:
                    for task in (answering, leaving):
                        task.cancel()
                    await asyncio.gather(answering, leaving, return_exceptions=True)

    async def _answer(self, client: ClientEnd, head: h11.Request, body: bytes, faults: Sequence[Fault]) -> bool:
        """Answer one request. Returns whether the connection can take another."""
        service: ServiceEnd | None = None
        try:
            replies = [reply for fault in faults if (reply := fault.reply()) is not None]
            if not replies or replies[0].lands:
                service = await ServiceEnd.ask(self._port, head, body)
            if replies:
                await client.send_head(replies[0], length=len(replies[0].body or b""))
                await client.send(replies[0].body or b"")
                return True
            assert service is not None  # noqa: S101 (asked, since there is no reply)
            return await self._pass_on(client, service, faults)
        except Break as end:
            return await self._break(client, service, end)
        finally:
            if service is not None:
                service.close()

    async def _pass_on(self, client: ClientEnd, service: ServiceEnd, faults: Sequence[Fault]) -> bool:
        answer = service.head
        for fault in faults:
            answer = fault.head(answer)
        body: AsyncIterator[bytes] = service.body()
        has_no_body = answer.status in (204, 304) or service.is_head
        length = service.length if has_no_body or not faults else None
        for fault in faults:
            await fault.begin(client.head_bytes(answer, length=length, has_no_body=has_no_body), body)
            body = fault.body(body, self._hold)
        await client.send_head(answer, length=length, has_no_body=has_no_body)
        async for data in body:
            await client.send(data)
        return await client.end()

    async def _break(self, client: ClientEnd, service: ServiceEnd | None, end: Break) -> bool:
        if end.refused:
            self._refused = end.refused
            for task, other in self._connections.items():
                if other is not client:
                    other.reset()
                    task.cancel()
        with suppress(OSError):
            await client.send_raw(end.sent)
        if end.how == "clean":
            return await client.end()
        if end.how == "half_open":
            # The service does not notice either: it continues to its end.
            if service is not None:
                async for _ in service.body():
                    pass
            await asyncio.get_running_loop().create_future()
        if end.how == "reset":
            client.reset()
        return False

    async def _hold(self, seconds: float | None) -> bool:
        released = asyncio.Event()
        self._holds.add(released)
        self.faults.count(held=1)
        try:
            await asyncio.wait_for(released.wait(), seconds)
        except TimeoutError:
            return False
        finally:
            self._holds.discard(released)
            self.faults.count(held=-1)
        return True

    def _release(self) -> None:
        for released in self._holds:
            released.set()


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the server has ended, and holds no answer
        loop.call_soon_threadsafe(function)
