"""Links to attachments that work without a key for a while."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from urllib.parse import quote, urlencode

__all__ = ["API", "ATTACHMENTS", "LinkSigner"]

# Where the application has its API, and what links lead to.
API = "/api"
ATTACHMENTS = "/attachments"


class LinkSigner:
    """Signs the paths of attachments with a secret of the server, and checks them.

    `now` reads the time in seconds since the epoch.
    """

    def __init__(self, secret: bytes, *, lifetime: float, now: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._lifetime = lifetime
        self._now = now

    def sign(self, source_id: str, name: str) -> tuple[str, int]:
        """Return the path and query of a link, and the second since the epoch at which it expires."""
        expires = int(self._now() + self._lifetime)
        query = urlencode({"expires": expires, "signature": self._signature(source_id, name, str(expires))})
        return f"{ATTACHMENTS}/{quote(source_id, safe='')}/{quote(name)}?{query}", expires

    def accepts(self, source_id: str, name: str, *, expires: str, signature: str) -> bool:
        """Return whether this server signed the link and it has not expired."""
        # The signature is checked first, so only a number that we signed is parsed.
        expected = self._signature(source_id, name, expires)
        return hmac.compare_digest(expected.encode(), signature.encode()) and self._now() < int(expires)

    def _signature(self, source_id: str, name: str, expires: str) -> str:
        # The lengths make the message unambiguous.
        message = f"{len(source_id)}:{source_id}{len(name)}:{name}{expires}"
        return hmac.new(self._secret, message.encode(), hashlib.sha256).hexdigest()
