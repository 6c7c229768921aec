"""The socket that a server listens on, and its address."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket

from chat_sessions.core.errors import ConfigurationError

__all__ = ["LOOPBACK", "check_port", "is_loopback", "listen", "url_of"]

LOOPBACK = "127.0.0.1"


def check_port(port: object) -> None:
    """Raise `ConfigurationError` for anything but the number of a port, or 0."""
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 65535:
        raise ConfigurationError(f"port {port!r} is not between 0 and 65535")


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `ConfigurationError` if the address cannot be used.

    It is bound before anything is opened, so that a second server on the same port cannot touch the first one's store.
    """
    check_port(port)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ConfigurationError(f"the host {host!r} is not known: {error.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    try:
        # On Windows, this option would let two servers share the port.
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


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach the host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def url_of(host: str, port: int) -> str:
    """Return the base URL of a server, without a slash at its end."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
