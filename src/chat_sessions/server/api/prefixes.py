"""The path of a request behind a proxy that takes a prefix off it, and a server that announces the prefix."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["WholePath"]


class WholePath:
    """Puts the announced `root_path` in front of a path that lacks it, so that both conventions reach every route.

    ASGI wants it there, as uvicorn has it; other servers leave the path as the proxy sent it. Starlette finds no route
    below a mount then. It runs before the router: every route keeps the guard that its mount has.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with its whole path."""
        if scope["type"] in ("http", "websocket") and scope.get("root_path"):
            scope = {**scope, **_whole(scope)}
        await self._app(scope, receive, send)


def _whole(scope: Scope) -> dict[str, str]:
    """Return `root_path`, without a slash at its end, and the path that begins with it."""
    given: str = scope["root_path"]
    # What the server announced; after it comes where this application is mounted in others.
    announced: str = scope.get("app_root_path", given)
    mounted = given.removeprefix(announced) if given.startswith(announced) else ""
    root = announced.rstrip("/") + mounted
    # A path that begins with the prefix has it, even if the proxy could have taken off the same one.
    for prefix in (given, root, mounted):
        rest = _below(prefix, scope["path"])
        if rest is not None:
            return {"root_path": root, "path": root + rest}
    return {"root_path": root, "path": root + scope["path"]}


def _below(prefix: str, path: str) -> str | None:
    """Return the rest of a path below a prefix, None if it is elsewhere. "/chats" is not below "/chat"."""
    rest = path[len(prefix) :]
    return rest if path.startswith(prefix) and rest[:1] in ("", "/") else None
