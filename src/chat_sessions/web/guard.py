"""Who may use the page: a browser that has the token, under a known host name, from the page itself.

Other sites in the same browser can send requests to a loopback port. They get no cookie (`SameSite=Strict`), their
`Origin` is refused, and a name that was rebound to 127.0.0.1 is not a known `Host`.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard"]

_READING = frozenset(("GET", "HEAD"))
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not `no-referrer`: browsers then send `Origin: null` with a form.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """ASGI middleware that refuses requests that do not come from the page itself.

    `hosts` are the accepted values of `Host`, such as "127.0.0.1:8770".
    """

    def __init__(self, app: ASGIApp, *, token: str, hosts: Collection[str]) -> None:
        self._app = app
        self._token = token
        self._hosts = frozenset(host.lower() for host in hosts)
        # Cookies do not know ports: two pages on one machine must not overwrite each other's.
        port = next(iter(sorted(self._hosts)), "").rpartition(":")[2]
        self._cookie = f"chat_sessions_{port}" if port.isdigit() else "chat_sessions"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if headers.get("host", "").lower() not in self._hosts:
            return PlainTextResponse("This page is not served under this name.", 421)
        if not self._is_same_origin(scope["method"], headers):
            return PlainTextResponse("Another site may not use this page.", 403)
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = next((value for name, value in query if name == "token"), None)
        if given is not None and scope["method"] in _READING and self._is_token(given):
            return self._entry(scope["path"], [pair for pair in query if pair[0] != "token"])
        if not self._is_token(_cookie(headers, self._cookie)):
            return PlainTextResponse(
                "This page needs its token: open the address that `chat-sessions ui` printed, with ?token=...", 401
            )
        return None

    def _is_same_origin(self, method: str, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is not None:
            return origin.lower().removeprefix("http://") in self._hosts and origin.lower().startswith("http://")
        # Browsers send no Origin with a navigation; without one, only the fetch metadata can say who posts.
        return method in _READING or headers.get("sec-fetch-site") == "same-origin"

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _entry(self, path: str, query: list[tuple[str, str]]) -> Response:
        """Move the token from the address into a cookie."""
        # A path that begins with two slashes would name another host.
        target = "/" + path.lstrip("/\\") + (f"?{urlencode(query)}" if query else "")
        response = RedirectResponse(target, 303)
        response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
        return response


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""
