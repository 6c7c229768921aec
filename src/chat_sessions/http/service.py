# Generated from async_service.py by scripts/generate_sync.py: edit that file, then run `make format`.
"""What the clients of all services have in common: connections of their own, copies, and pickles without keys."""

from __future__ import annotations

from abc import abstractmethod
from copy import copy
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from chat_sessions.http.client import HTTPClient
from chat_sessions.http.requests import HTTPSettings
from chat_sessions.session.backend import Twinned
from chat_sessions.session.deadlines import Timeouts

__all__ = ["Service"]

_Settings = TypeVar("_Settings", bound=HTTPSettings)


class Service(Twinned, Generic[_Settings]):
    """The base of a client. `_given` is what it was given besides its settings."""

    _settings: _Settings
    _http: HTTPClient
    _given: tuple[Any, ...]

    @abstractmethod
    def _connect(self, settings: _Settings, *args: Any, **kwargs: Any) -> None:
        """Take the settings, and make the HTTP client."""

    @classmethod
    def from_settings(cls, settings: _Settings, *given: Any) -> Self:
        """Return a client with the settings of another."""
        made = cls.__new__(cls)
        made._connect(settings, *given)
        return made

    def __copy__(self) -> Self:
        return self.from_settings(self._settings, *self._given)

    def __deepcopy__(self, memo: object) -> Self:
        return copy(self)

    def __getstate__(self) -> dict[str, object]:
        return {"_settings": self._settings, "_given": self._given}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # An older pickle has the settings alone.
        self._connect(state["_settings"], *state.get("_given", ()))

    def __repr__(self) -> str:
        if not hasattr(self, "_settings"):
            # A traceback with local variables also shows a client whose constructor failed.
            return f"<{type(self).__name__} without settings>"
        shown = {"base_url": self.base_url, **self._settings.params}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections made here. The client may be used again: it makes new ones."""
        self._http.close_connections()

    @property
    @abstractmethod
    def service(self) -> str:
        """The service's name."""

    @property
    def base_url(self) -> str:
        """The service's address, without the path of its API."""
        return self._settings.route.base_url

    @property
    def timeouts(self) -> Timeouts:
        """The deadlines of this client's turns and requests."""
        return self._settings.timeouts

    @property
    def transport(self) -> Self:
        """Itself: it sends turns and reads sessions back."""
        return self

    def queue_key(self, session_id: str) -> tuple[str, ...]:
        """Return the key that identifies a session for every client of this process."""
        return (self.service, self.base_url, session_id)
