"""The script of faults, which a test writes and the proxy plays, and the requests that came."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.testing.fault import Fault, Route

__all__ = ["Faults", "SeenRequest"]

_ROUTES: tuple[tuple[str, str, Route], ...] = (
    ("POST", r"/api/v1/chat/[^/]+/messages/stream", "turn"),
    ("GET", r"/api/v1/chat/[^/]+", "history"),
    ("POST", r"/api/v1/chat", "create"),
)


@dataclass(frozen=True, slots=True)
class SeenRequest:
    """A request as it came. `faults` are those that affected it; `path` is without the query."""

    method: str
    path: str
    body: bytes = field(repr=False)
    faults: tuple[Fault, ...] = ()

    @property
    def route(self) -> Route:
        """The kind of the request."""
        for method, pattern, route in _ROUTES:
            if self.method == method and re.fullmatch(pattern, self.path):
                return route
        return "other"


@dataclass(eq=False)
class _Planned:
    faults: tuple[Fault, ...]
    left: int | None


class Faults:
    """The script of a server's faults, and the requests it saw. Safe to use from any thread.

    A fault, or a tuple of faults for one request, waits in line for the next request of its route.
    """

    def __init__(self, *faults: Fault | Sequence[Fault]) -> None:
        self._planned: list[_Planned] = []
        self._requests: list[SeenRequest] = []
        self._changed = threading.Condition()
        self._open = 0
        self._held = 0
        # Set by the proxy, in whose event loop the answers wait.
        self.on_release: Callable[[], None] | None = None
        self.script(*faults)

    def script(self, *faults: Fault | Sequence[Fault]) -> None:
        """Add faults to the end of the line. Raises `ConfigurationError` for anything else."""
        planned: list[_Planned] = []
        for item in faults:
            together = tuple(item) if isinstance(item, Sequence) else (item,)
            if not together or not all(isinstance(fault, Fault) for fault in together):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ConfigurationError(f"{item!r} is not a fault: use the faults of chat_sessions.testing")
            if len({fault.on for fault in together}) > 1:
                raise ConfigurationError(f"{together!r}: faults for the same request must have the same on=")
            planned.append(_Planned(together, together[0].times))
        with self._changed:
            self._planned += planned

    def clear(self) -> None:
        """Forget the faults that are still waiting, and the requests seen."""
        with self._changed:
            self._planned.clear()
            self._requests.clear()

    def release(self) -> None:
        """Continue every answer that a `Stall` or `SlowStart` holds."""
        if self.on_release is not None:
            self.on_release()

    @property
    def requests(self) -> tuple[SeenRequest, ...]:
        """Every request that came, in order, including those that did not reach the service."""
        with self._changed:
            return tuple(self._requests)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompts that were posted. One that a client sends twice is here twice."""
        return tuple(json.loads(request.body)["prompt"] for request in self.requests if request.route == "turn")

    @property
    def pending(self) -> tuple[tuple[Fault, ...], ...]:
        """The faults that have not affected a request yet."""
        with self._changed:
            return tuple(item.faults for item in self._planned if item.left is not None)

    @property
    def open_connections(self) -> int:
        """How many connections clients hold open, including pooled ones."""
        with self._changed:
            return self._open

    def wait_until_held(self, timeout: float = 10.0) -> None:
        """Wait until a `Stall` or `SlowStart` holds an answer. Raises `TimeoutError` after `timeout` seconds."""
        self._wait(lambda: self._held > 0, timeout, "no answer is held")

    def wait_until_left(self, timeout: float = 10.0) -> None:
        """Wait until no client holds a connection. Raises `TimeoutError` after `timeout` seconds."""
        self._wait(lambda: self._open == 0, timeout, "a client still holds a connection")

    def _wait(self, is_so: Callable[[], bool], timeout: float, problem: str) -> None:
        with self._changed:
            if not self._changed.wait_for(is_so, timeout):
                raise TimeoutError(f"{problem}, after {timeout:g} s")

    def count(self, *, connections: int = 0, held: int = 0) -> None:
        """Change the number of connections and held answers. For the proxy."""
        with self._changed:
            self._open += connections
            self._held += held
            self._changed.notify_all()

    def meet(self, request: SeenRequest) -> tuple[Fault, ...]:
        """Record a request, and return the faults for it. For the proxy."""
        with self._changed:
            found = next((item for item in self._planned if item.faults[0].on in (request.route, "any")), None)
            if found is not None and found.left is not None:
                found.left -= 1
                if not found.left:
                    self._planned.remove(found)
            faults = () if found is None else found.faults
            self._requests.append(SeenRequest(request.method, request.path, request.body, faults))
            return faults
