"""What every HTTP backend is configured with: an address, a key, headers, and the route to the service."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import threading
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from errno import ENOENT
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import NoneType
from typing import TypeVar
from urllib.request import getproxies

import httpcore
import httpx
from pydantic import SecretStr

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.http.secrets import Concealed
from chat_sessions.session.deadlines import Timeouts
from chat_sessions.session.waiting import running_loop

__all__ = [
    "USER_AGENT",
    "AsyncGivenClient",
    "GivenClient",
    "Route",
    "check_kind",
    "check_limits",
    "check_strings",
    "checked_headers",
    "checked_key",
    "checked_prompt",
    "checked_url",
    "own_headers",
    "route_of",
]

_Client = TypeVar("_Client", httpx.Client, httpx.AsyncClient)

# RFC 9110, 5.1 and 5.5; httpx encodes a value as ASCII.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
_EVERY_CLIENTS = frozenset(("accept", "accept-encoding", "connection", "host", "user-agent"))
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
# Read at import: a request that reads a file would block the event loop.
USER_AGENT = f"chat-sessions/{version('chat-sessions')}"


@dataclass(frozen=True, slots=True)
class Route:
    """How a service is reached: its address, the authorities for its certificate, and the proxy.

    `verify` is True for the usual authorities, False for no check, a file or folder of authorities, or a context.
    `proxy_url` may hold a password and appears in no repr. `trust_env` says whether to read proxy and certificates from
    the environment. `http2` says whether to use HTTP/2 if the service offers it.
    """

    base_url: str
    verify: ssl.SSLContext | bool | str = True
    proxy_url: str | None = field(default=None, repr=False)
    trust_env: bool = True
    http2: bool = False

    def __getstate__(self) -> dict[str, object]:
        if isinstance(self.verify, ssl.SSLContext):
            raise ConfigurationError("a client with an SSL context cannot be pickled: give verify= the path of a file")
        if self.proxy_url is not None and "@" in self.proxy_url:
            raise ConfigurationError(
                "a client whose proxy= holds a password cannot be pickled: name the proxy in the environment"
            )
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def __setstate__(self, state: dict[str, object]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def checked(self) -> Route:
        """Return this route. Raises `ConfigurationError` for arguments that cannot be used."""
        if self.http2 and find_spec("h2") is None:
            raise ConfigurationError("http2=True needs h2: pip install 'httpx[http2]'")
        if isinstance(self.verify, str):
            self.ssl_context()
        if self.proxy_url is not None:
            self.proxy()
        return self

    def ssl_context(self) -> ssl.SSLContext:
        """The context for the service; shared in the process unless it has settings of its own.

        Raises `ConfigurationError` for certificates that cannot be read.
        """
        if isinstance(self.verify, ssl.SSLContext):
            return self.verify
        named = {name: os.environ.get(name, "") for name in _CERTIFICATE_VARIABLES} if self.trust_env else {}
        return _ssl_context(self.verify, **named)

    def proxy(self) -> httpcore.Proxy | None:
        """The proxy: the one given, else the environment's for this address, else None.

        Raises `ConfigurationError` for one that cannot be used. The error holds no part of its address.
        """
        url = self._proxy_url()
        if url is None:
            return None
        # As bytes: httpcore refuses text beyond ASCII.
        auth = (url.username.encode(), url.password.encode()) if url.username or url.password else None
        core_url = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=b"/")
        return httpcore.Proxy(core_url, auth=auth)

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """The proxy's password: httpcore logs it for SOCKS."""
        with suppress(ConfigurationError):
            if (url := self._proxy_url()) is not None and url.password:
                return (SecretStr(url.password),)
        return ()

    def proxy_address(self) -> str | None:
        """The proxy's address for websockets, which may hold a password. Raises as `proxy`."""
        url = self._proxy_url()
        return None if url is None else str(url)

    def _proxy_url(self) -> httpx.URL | None:
        if self.proxy_url is not None:
            return _proxy_url(self.proxy_url, "proxy")
        return _environment_proxy(httpx.URL(self.base_url)) if self.trust_env else None


def route_of(
    base_url: str,
    *,
    verify: ssl.SSLContext | bool | str | os.PathLike[str],
    proxy: str | None,
    trust_env: bool,
    http2: bool,
) -> Route:
    """Return the route that these arguments name. Raises `ConfigurationError` if it cannot be taken."""
    check_kind("verify", verify, (bool, str, os.PathLike, ssl.SSLContext), "a bool, a path or an ssl.SSLContext")
    check_strings(proxy=proxy)
    path = os.fspath(verify) if isinstance(verify, os.PathLike) else verify
    return Route(base_url, path, proxy, trust_env, http2).checked()


# A fork waits until a context is made: OpenSSL's first use holds a lock that a child would wait for without end.
_making = threading.RLock()
if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows
    os.register_at_fork(before=_making.acquire, after_in_parent=_making.release, after_in_child=_making.release)


@cache
def _ssl_context(verify: bool | str, **named: str) -> ssl.SSLContext:
    name = f"verify={verify!r}"
    try:
        with _making:
            if isinstance(verify, str):
                if Path(verify).is_dir():
                    return ssl.create_default_context(capath=verify)
                return ssl.create_default_context(cafile=verify)
            name = " and ".join(name for name, value in named.items() if value) or "the certificates of certifi"
            folders = named.get("SSL_CERT_DIR", "")
            if verify and name == "SSL_CERT_DIR" and not any(Path(one).is_dir() for one in folders.split(os.pathsep)):
                # OpenSSL would say at each connection that its certificate is not to be trusted.
                raise FileNotFoundError(ENOENT, "no such folder", folders)
            return httpx.create_ssl_context(verify=verify, trust_env=bool(named))
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read: {error}") from error


def _environment_proxy(url: httpx.URL) -> httpx.URL | None:
    proxies = getproxies()
    if _is_excepted(url, proxies.get("no", "")):
        return None
    for scheme in (url.scheme, "all"):
        if value := proxies.get(scheme):
            names = f"{scheme.upper()}_PROXY", f"{scheme}_proxy"
            name = next((name for name in names if os.environ.get(name)), names[0])
            return _proxy_url(value, name)
    return None


def _is_excepted(url: httpx.URL, excepted: str) -> bool:
    """Whether NO_PROXY names this host: by name, by a domain above it, by address or network; with a port or not."""
    for entry in (entry.strip().lower() for entry in excepted.split(",")):
        if entry == "*":
            return True
        host, colon, port = entry.rpartition(":") if entry.count(":") == 1 else (entry, "", "")
        if not host or (colon and port != str(url.port or {"http": 80, "https": 443}[url.scheme])):
            continue
        if url.host == host.lstrip("*").lstrip(".") or url.host.endswith("." + host.lstrip("*").lstrip(".")):
            return True
        try:
            if ip_address(url.host) in ip_network(host.strip("[]"), strict=False):
                return True
        except ValueError:
            continue
    return False


def _proxy_url(address: str, name: str) -> httpx.URL:
    # Neither a cause nor a quotation: the address may hold a password.
    address = address.strip()
    not_an_address = ConfigurationError(f"{name} is not the address of a proxy, such as http://127.0.0.1:3128")
    try:
        url = _url(address if "://" in address else f"http://{address}")
    except (httpx.InvalidURL, ValueError):
        raise not_an_address from None
    if not url.host:
        raise not_an_address
    if url.scheme not in _PROXY_SCHEMES:
        raise ConfigurationError(
            f"{name} names a proxy of the kind {url.scheme!r}; use one of {', '.join(_PROXY_SCHEMES)}, "
            "or unset it (trust_env=False ignores the environment)"
        )
    if url.scheme.startswith("socks") and find_spec("socksio") is None:
        raise ConfigurationError(f"{name} names a SOCKS proxy, which needs socksio: pip install socksio")
    return url


class GivenClient:
    """An `httpx.Client` of the user's, or a function that makes one."""

    def __init__(self, client: httpx.Client | Callable[[], httpx.Client]) -> None:
        if not isinstance(client, httpx.Client) and not callable(client):
            raise ConfigurationError(
                f"http_client must be an httpx.Client, or a function that makes one; got {_type_name(client)}"
            )
        self.given = client
        self._made = None if callable(client) else client

    def __reduce__(self) -> tuple[type[GivenClient], tuple[object]]:
        return GivenClient, (_picklable(self.given),)

    def get(self) -> httpx.Client:
        """Return the client. Raises `ConfigurationError` for one that is closed."""
        if self._made is None:
            assert callable(self.given)  # noqa: S101 - see the constructor
            self._made = _checked_client(self.given(), httpx.Client)
        return _open_client(self._made)


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


def _url(address: str) -> httpx.URL:
    """Return an address. Raises `httpx.InvalidURL` or `ValueError` for one that no resolver can be asked for."""
    url = httpx.URL(address)
    # As `socket.getaddrinfo` does: an empty label, or one over 63 characters, is an error.
    url.raw_host.decode("ascii").encode("idna")
    # Which takes a port modulo 65536.
    if (url.port or 0) > 65535:
        raise httpx.InvalidURL(f"Invalid port: {url.port}")
    return url


def checked_url(value: str, *, suffix: str) -> str:
    """Return a service's address without the suffix of its API. Raises `ConfigurationError` if it is not an address."""
    value = value.strip()
    # The documented example for the EU region of LlamaCloud has no scheme.
    value = value if "://" in value else f"https://{value}"
    if "@" in value.partition("://")[2].partition("/")[0]:
        # Before everything else: the errors below quote the address.
        raise ConfigurationError("base_url must hold no user, query or fragment")
    try:
        url = _url(value)
    except (httpx.InvalidURL, ValueError) as error:
        raise ConfigurationError(f"base_url is not an address: {value!r} ({error})") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(f"base_url must be an http or https address; got {value!r}")
    if url.query or url.fragment:
        raise ConfigurationError("base_url must hold no user, query or fragment")
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
    """Raise `ConfigurationError` for limits that are none."""
    check_kind("timeouts", timeouts, (Timeouts, NoneType), "chat_sessions.Timeouts, such as Timeouts(idle=30)")
    check_kind("max_retries", max_retries, int, "a whole number")
    check_kind("max_event_bytes", max_event_bytes, int, "a whole number")
    if max_retries < 0:
        raise ConfigurationError(f"max_retries must be 0 or more; got {max_retries}")
    if max_event_bytes <= 0:
        raise ConfigurationError(f"max_event_bytes must be more than 0; got {max_event_bytes}")


def _is_header_name(name: object) -> bool:
    return isinstance(name, str) and _HEADER_NAME.fullmatch(name) is not None


def _is_header_value(value: object) -> bool:
    return isinstance(value, str) and _HEADER_VALUE.fullmatch(value.strip()) is not None


def own_headers(headers: httpx.Headers) -> dict[str, str]:
    """Return the headers that a user gave a client, names in lower case, without those that every client has."""
    return Concealed({name: value for name, value in headers.items() if name not in _EVERY_CLIENTS})
