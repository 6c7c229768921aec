"""The route to a service: its address, the authorities for its certificate, and the proxy on the way."""

from __future__ import annotations

import os
import ssl
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass, field, fields
from errno import ENOENT
from functools import cache
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.request import getproxies

import httpcore
import httpx
from pydantic import SecretStr

from chat_sessions.core.errors import ConfigurationError
from chat_sessions.http.connection.forks import no_fork
from chat_sessions.http.settings import check_kind, check_strings, parsed_url

__all__ = ["Route", "route_of"]

_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_KEY_LOG = "SSLKEYLOGFILE"


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
        url, _ = self._proxy_url()
        if url is None:
            return None
        # As bytes: httpcore refuses text beyond ASCII.
        auth = (url.username.encode(), url.password.encode()) if url.username or url.password else None
        core_url = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=b"/")
        return httpcore.Proxy(core_url, auth=auth)

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """The proxy's password in each form in which it is sent or given: httpcore logs it for SOCKS."""
        with suppress(ConfigurationError):
            url, _ = self._proxy_url()
            if url is not None and url.password:
                basic = b64encode(f"{url.username}:{url.password}".encode()).decode()
                return tuple(map(SecretStr, {url.password, url.userinfo.decode("ascii").partition(":")[2], basic}))
        return ()

    def proxy_address(self) -> str | None:
        """The proxy's address for websockets, which may hold a password. Raises as `proxy`."""
        url, _ = self._proxy_url()
        return None if url is None else str(url)

    def proxy_name(self) -> str | None:
        """The proxy as errors name it, without user and password: its address, and what set it. Raises as `proxy`."""
        url, name = self._proxy_url()
        return None if url is None else f"the proxy {url.scheme}://{url.netloc.decode('ascii')} (set by {name})"

    def _proxy_url(self) -> tuple[httpx.URL | None, str]:
        """The proxy's address, and the argument or the variable that names it."""
        if self.proxy_url is not None:
            return _proxy_url(SecretStr(self.proxy_url), "proxy"), "proxy="
        return _environment_proxy(httpx.URL(self.base_url)) if self.trust_env else (None, "")


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


@cache
def _ssl_context(verify: bool | str, **named: str) -> ssl.SSLContext:
    name = f"verify={verify!r}"
    try:
        # OpenSSL's first use holds a lock.
        with no_fork:
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
        if error.filename is not None and error.filename == os.environ.get(_KEY_LOG):
            # Python opens the file of this variable for each context that it makes.
            raise ConfigurationError(f"{_KEY_LOG} names a file that cannot be written: {error}; unset it") from error
        raise ConfigurationError(f"{name} cannot be read: {error}") from error


def _environment_proxy(url: httpx.URL) -> tuple[httpx.URL | None, str]:
    # A traceback may show local variables.
    proxies = {scheme: SecretStr(value) for scheme, value in getproxies().items()}
    if (excepted := proxies.get("no")) and _is_excepted(url, excepted.get_secret_value()):
        return None, ""
    for scheme in (url.scheme, "all"):
        if value := proxies.get(scheme):
            # If both are set, the second one counts.
            names = f"{scheme.upper()}_PROXY", f"{scheme}_proxy"
            name = next((name for name in reversed(names) if os.environ.get(name)), names[0])
            return _proxy_url(value, name), name
    return None, ""


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


def _proxy_url(given: SecretStr, name: str) -> httpx.URL:
    url = parsed_url(_address(given))
    if isinstance(url, str) or not url.host:
        # Neither the address nor what is wrong with it, not even in a variable: both may quote a password.
        del url
        raise ConfigurationError(f"{name} is not the address of a proxy, such as http://127.0.0.1:3128")
    if url.scheme not in _PROXY_SCHEMES:
        raise ConfigurationError(
            f"{name} names a proxy of the kind {url.scheme!r}; use one of {', '.join(_PROXY_SCHEMES)}, "
            "or unset it (trust_env=False ignores the environment)"
        )
    if url.scheme.startswith("socks") and find_spec("socksio") is None:
        raise ConfigurationError(f"{name} names a SOCKS proxy, which needs socksio: pip install socksio")
    return url


def _address(given: SecretStr) -> str:
    address = given.get_secret_value().strip()
    return address if "://" in address else f"http://{address}"
