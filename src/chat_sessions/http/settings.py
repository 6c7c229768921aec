"""What every HTTP backend is configured with: an address, a key, headers, limits, and clients of the user's own."""

from __future__ import annotations

import asyncio
import re
import weakref
from collections.abc import Callable, Mapping
from importlib.metadata import version
from types import NoneType
from typing import TypeVar

import httpx
from pydantic import SecretStr

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.http.connection.forks import load_for_asyncio
from chat_sessions.http.secrets import Concealed
from chat_sessions.session.deadlines import Timeouts
from chat_sessions.session.waiting import running_loop

__all__ = [
    "USER_AGENT",
    "AsyncGivenClient",
    "GivenClient",
    "check_kind",
    "check_limits",
    "check_strings",
    "check_used",
    "checked_headers",
    "checked_key",
    "checked_prompt",
    "checked_url",
    "own_headers",
    "parsed_url",
]

_Client = TypeVar("_Client", httpx.Client, httpx.AsyncClient)

# RFC 9110, 5.1 and 5.5; httpx encodes a value as ASCII.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_FRAMING = frozenset(("content-length", "transfer-encoding"))
_EVERY_CLIENTS = frozenset(("accept", "accept-encoding", "connection", "host", "user-agent"))
# Read at import: a request that reads a file would block the event loop.
USER_AGENT = f"chat-sessions/{version('chat-sessions')}"


class GivenClient:
    """An `httpx.Client` of the user's, or a function that makes one."""

    def __init__(self, client: httpx.Client | Callable[[], httpx.Client]) -> None:
        if not isinstance(client, httpx.Client) and not callable(client):
            raise ConfigurationError(
                f"http_client must be an httpx.Client, or a function that makes one; got {_type_name(client)}"
            )
        self.given = client
        # Of several that threads made at once, the first serves them all.
        self._made = [client] if isinstance(client, httpx.Client) else []

    def __reduce__(self) -> tuple[type[GivenClient], tuple[object]]:
        return GivenClient, (_picklable(self.given),)

    def get(self) -> httpx.Client:
        """Return the client. Raises `ConfigurationError` for one that is closed."""
        if not self._made:
            assert callable(self.given)  # noqa: S101 - see the constructor
            made = _checked_client(self.given(), httpx.Client)
            self._made.append(made)
            if self._made[0] is not made:
                made.close()
        return _open_client(self._made[0])


class AsyncGivenClient:
    """An `httpx.AsyncClient` of the user's, for one event loop, or a function that makes one for each loop."""

    def __init__(self, client: httpx.AsyncClient | Callable[[], httpx.AsyncClient]) -> None:
        if not isinstance(client, httpx.AsyncClient) and not callable(client):
            raise ConfigurationError(
                f"the async http_client must be an httpx.AsyncClient, or a function that makes one; got "
                f"{_type_name(client)}"
            )
        self.given = client
        self._made: dict[asyncio.AbstractEventLoop, httpx.AsyncClient] = {}
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None

    def __reduce__(self) -> tuple[type[AsyncGivenClient], tuple[object]]:
        return AsyncGivenClient, (_picklable(self.given),)

    def get(self) -> httpx.AsyncClient:
        """Return the running loop's client.

        Raises `ConfigurationError` for one that is closed, or belongs to another loop: its connections do.
        """
        loop = running_loop()
        load_for_asyncio()
        if isinstance(self.given, httpx.AsyncClient):
            if self._loop is None:
                self._loop = weakref.ref(loop)
            if self._loop() is not loop:
                raise ConfigurationError(
                    "the async http_client was used in another event loop, and works in that one only: pass a function "
                    "that makes a client for each loop, or verify=, proxy= and the like instead of a client"
                )
            return _open_client(self.given)
        for other in [known for known in list(self._made) if known.is_closed()]:
            self._made.pop(other, None)
        if loop not in self._made:
            self._made[loop] = _checked_client(self.given(), httpx.AsyncClient)
        return _open_client(self._made[loop])


def _picklable(given: object) -> object:
    """Return a function that makes clients. Raises `ConfigurationError` for a client, which is bound to its process."""
    if isinstance(given, httpx.Client | httpx.AsyncClient):
        raise ConfigurationError(
            "a client with an http_client cannot be pickled: give http_client= a function of a module that makes one, "
            "or use verify=, proxy= and the like instead"
        )
    return given


def _checked_client(made: object, kind: type[_Client]) -> _Client:
    if not isinstance(made, kind):
        raise ConfigurationError(
            f"the http_client function must return an httpx.{kind.__name__}; got {_type_name(made)}"
        )
    return made


def _open_client(client: _Client) -> _Client:
    if client.is_closed:
        raise ConfigurationError("the http_client that this client was given is closed")
    return client


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def parsed_url(address: str) -> httpx.URL | str:
    """Return an address, or what is wrong with it if no resolver can be asked for it.

    It is returned and not raised: an httpx error keeps a half-made URL in its frames, on which a crash report that
    shows local variables would fail.
    """
    try:
        url = httpx.URL(address)
        # As `socket.getaddrinfo` does: an empty label, or one over 63 characters, is an error.
        url.raw_host.decode("ascii").encode("idna")
        # httpx decodes "xn--…" where the host is asked for.
        _ = url.host
    except (httpx.InvalidURL, ValueError) as error:
        return str(error)
    # `socket.getaddrinfo` takes a port modulo 65536.
    return url if 0 <= (url.port or 0) <= 65535 else f"Invalid port: {url.port}"


def checked_url(value: str, *, suffix: str, name: str = "base_url") -> str:
    """Return a service's address without the suffix of its API.

    Raises `ConfigurationError` if it is not an address. `name` is the argument or the variable that gave it.
    """
    value = value.strip()
    # The documented example for the EU region of LlamaCloud has no scheme.
    value = value if "://" in value else f"https://{value}"
    if "@" in value.partition("://")[2].partition("/")[0]:
        # Before everything else: the errors below quote the address.
        raise ConfigurationError(f"{name} must hold no user, query or fragment")
    # An extra slash, or one in a password, moves the user part elsewhere.
    shows_password = "@" in value
    url = parsed_url(value)
    if isinstance(url, str):
        shown = "" if shows_password else f": {value!r} ({url})"
        raise ConfigurationError(f"{name} is not an address{shown}")
    if url.scheme not in ("http", "https") or not url.host:
        shown = "" if shows_password else f"; got {value!r}"
        raise ConfigurationError(f"{name} must be an http or https address{shown}")
    if "?" in value or "#" in value:
        raise ConfigurationError(f"{name} must hold no user, query or fragment")
    return value.rstrip("/").removesuffix(suffix)


def checked_key(key: SecretStr) -> SecretStr:
    """Return the key if a header can carry it. Raises `ConfigurationError`."""
    if not _can_be_sent(key):
        raise ConfigurationError("the API key contains white space or characters that a key cannot have; copy it again")
    return key


def checked_prompt(prompt: object, *, may_be_empty: bool = False) -> str:
    """Return the prompt if any service can take it. Raises `ConfigurationError`."""
    if not isinstance(prompt, str):
        raise ConfigurationError(f"the prompt must be a string; got {type(prompt).__name__}")
    if not (prompt.strip() or may_be_empty):
        raise ConfigurationError("the prompt is empty")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError("the prompt contains half of a surrogate pair, which JSON cannot represent") from error
    return prompt


def _can_be_sent(key: SecretStr) -> bool:
    # In a frame of its own, which has ended when the error is raised: a traceback may show local variables.
    value = key.get_secret_value()
    return value.isascii() and value.isprintable() and " " not in value


def checked_headers(given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return headers without white space around their values. The error names a header, never its value."""
    check_kind("headers", given, Mapping, "a mapping of names to values")
    # A traceback may show local variables.
    given = Concealed(given)
    for name in given:
        if not _is_header_name(name):
            raise ConfigurationError(f"headers: {name!r} is not a header name")
        if name.lower() in _FRAMING:
            raise ConfigurationError(f"headers: {name!r} cannot be set: it says how long each request is")
        if not _is_header_value(given[name]):
            raise ConfigurationError(
                f"headers[{name!r}] cannot be sent: a value is a string of one line, of printable ASCII characters"
            )
    return tuple((name, value.strip()) for name, value in given.items())


def check_kind(name: str, value: object, kind: type | tuple[type, ...], said: str) -> None:
    """Raise `ConfigurationError` unless the argument is of this kind. The value, which may be secret, is not quoted."""
    if not isinstance(value, kind):
        raise ConfigurationError(f"{name} must be {said}; got {_type_name(value)}")


def check_strings(**arguments: object) -> None:
    """Raise `ConfigurationError` unless each argument is a string, a secret one or None."""
    for name, value in arguments.items():
        check_kind(name, value, (str, SecretStr, NoneType), "a string")


def check_limits(timeouts: Timeouts | None, max_retries: int, max_event_bytes: int) -> None:
    """Raise `ConfigurationError` for limits of the wrong type or out of range."""
    check_kind("timeouts", timeouts, (Timeouts, NoneType), "chat_sessions.Timeouts, such as Timeouts(idle=30)")
    check_kind("max_retries", max_retries, int, "a whole number")
    check_kind("max_event_bytes", max_event_bytes, int, "a whole number")
    if max_retries < 0:
        raise ConfigurationError(f"max_retries must be 0 or more; got {max_retries}")
    if max_event_bytes <= 0:
        raise ConfigurationError(f"max_event_bytes must be more than 0; got {max_event_bytes}")


def check_used(*, verify: object, proxy: str | None, trust_env: bool, http2: bool, **clients: object) -> None:
    """Raise `ConfigurationError` for settings of our connections where the user's `clients` have their own.

    `trust_env` may still be meant for the twin that has no such client.
    """
    given = [name for name, client in clients.items() if client is not None]
    unused = {
        "verify": verify is not True,
        "proxy": proxy is not None,
        "http2": http2,
        "trust_env": not trust_env and len(given) == len(clients),
    }
    for name, is_set in unused.items():
        if given and is_set:
            raise ConfigurationError(
                f"{name}= has no effect on {given[0]}=, which makes its own connections: set it on that client, "
                "and leave it out here"
            )


def _is_header_name(name: object) -> bool:
    return isinstance(name, str) and _HEADER_NAME.fullmatch(name) is not None


def _is_header_value(value: object) -> bool:
    return isinstance(value, str) and _HEADER_VALUE.fullmatch(value.strip()) is not None


def own_headers(headers: httpx.Headers) -> dict[str, str]:
    """Return the headers that a user gave a client, names in lower case, without those that every client has."""
    return Concealed({name: value for name, value in headers.items() if name not in _EVERY_CLIENTS})
