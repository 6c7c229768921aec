"""Connection pools of event loops: one each, closed with its loop or with the client that made it.

A pool's connections belong to the loop that opened them, and applications run one loop after the
other (`asyncio.run` in a script, a notebook, a test). Left to the garbage collector, idle connections
would be found after their loop has gone, with a warning each and "Event loop is closed".
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator

import httpx

__all__ = ["OWN_LIMITS", "LoopPools"]

# A turn holds its connection until it ends: how many there are is the application's to say, not the pool's.
OWN_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20)


class LoopPools:
    """The pools of one client, one per event loop in which it was used.

    `trust_env` as in httpx: whether proxies are taken from the environment.
    """

    def __init__(self, *, trust_env: bool = True) -> None:
        self._trust_env = trust_env
        self._pools: dict[asyncio.AbstractEventLoop, _Pool] = {}
        weakref.finalize(self, _abandon, self._pools).atexit = False

    async def of_running_loop(self) -> httpx.AsyncClient:
        """The running loop's pool, made at its first use."""
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            for other in [known for known in self._pools if known.is_closed()]:
                del self._pools[other]
            pool = self._pools[loop] = _Pool(trust_env=self._trust_env)
            await pool.open()
        return pool.client

    async def close_running_loop(self) -> None:
        """Close the running loop's pool, if it has one."""
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.close()


class _Pool:
    """One pool, kept until it is closed: by its client, or by its loop as it shuts down.

    A loop tells nobody that it ends but its async generators, so the pool's life is one.
    """

    def __init__(self, *, trust_env: bool) -> None:
        self.client = httpx.AsyncClient(limits=OWN_LIMITS, trust_env=trust_env)
        self._life = self._live()

    async def open(self) -> None:
        await anext(self._life)

    async def close(self) -> None:
        await self._life.aclose()

    async def _live(self) -> AsyncGenerator[None]:
        _open_pools.add(self)
        try:
            yield
        finally:
            await self.client.aclose()
            _open_pools.discard(self)


# Holds what a collected client leaves behind until its loop has closed it.
_open_pools: set[_Pool] = set()
_closing: set[asyncio.Task[None]] = set()


def _abandon(pools: dict[asyncio.AbstractEventLoop, _Pool]) -> None:
    """The client is gone: have each loop close its pool, at its own next step."""
    for loop, pool in pools.items():
        if loop.is_closed():
            _open_pools.discard(pool)
        else:
            loop.call_soon_threadsafe(_close_soon, loop, pool)


def _close_soon(loop: asyncio.AbstractEventLoop, pool: _Pool) -> None:
    _closing.add(task := loop.create_task(pool.close()))
    task.add_done_callback(_closing.discard)
