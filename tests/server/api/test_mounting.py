"""The key and the limits hold wherever the application is mounted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chat_sessions.server import Limits, create_app
from tests.server.scripted import ANSWER, IDS, PaperIndex, ScriptedAgent

Place = Callable[[Starlette], tuple[ASGIApp, str]]


def at_the_root(app: Starlette) -> tuple[ASGIApp, str]:
    return app, ""


def mounted_in_starlette(app: Starlette) -> tuple[ASGIApp, str]:
    return Starlette(routes=[Mount("/chat", app)]), "/chat"


def mounted_twice(app: Starlette) -> tuple[ASGIApp, str]:
    return Starlette(routes=[Mount("/team", Starlette(routes=[Mount("/api", app)]))]), "/team/api"


def behind_a_root_path(app: Starlette) -> tuple[ASGIApp, str]:
    async def with_root_path(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "root_path": "/proxied"} if scope["type"] != "lifespan" else scope, receive, send)

    return with_root_path, "/proxied"


def _stripping(app: ASGIApp, announced: str) -> tuple[ASGIApp, str]:
    """A proxy that takes the prefix off, and a server that announces it and leaves the path as it came."""

    async def stripped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            scope = {**scope, "root_path": announced, "path": scope["path"].removeprefix("/proxied")}
        await app(scope, receive, send)

    return stripped, "/proxied"


def behind_a_root_path_that_the_path_lacks(app: Starlette) -> tuple[ASGIApp, str]:
    return _stripping(app, "/proxied")


def behind_a_root_path_with_a_slash_at_its_end(app: Starlette) -> tuple[ASGIApp, str]:
    return _stripping(app, "/proxied/")


def mounted_behind_a_root_path_that_the_path_lacks(app: Starlette) -> tuple[ASGIApp, str]:
    outer, prefix = _stripping(Starlette(routes=[Mount("/chat", app)]), "/proxied")
    return outer, f"{prefix}/chat"


PLACES = [
    at_the_root,
    mounted_in_starlette,
    mounted_twice,
    behind_a_root_path,
    behind_a_root_path_that_the_path_lacks,
    behind_a_root_path_with_a_slash_at_its_end,
    mounted_behind_a_root_path_that_the_path_lacks,
]


@asynccontextmanager
async def served(place: Place, limits: Limits | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key, whose addresses begin where the application is mounted."""
    paper = PaperIndex(attachments={"pages/1.png": b"picture"})
    app = create_app(
        indexes={"idx-docs": paper}, agent=ScriptedAgent(*ANSWER), api_key="key", limits=limits or Limits()
    )
    outer, prefix = place(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url=f"http://app{prefix}") as client,
    ):
        yield client


@pytest.mark.parametrize("place", PLACES)
async def test_every_route_of_the_api_asks_for_the_key(place: Place) -> None:
    async with served(place) as client:
        document = (await client.get("/openapi.json")).json()
        asked = [(path, method) for path, methods in document["paths"].items() for method in methods]
        guarded = [(path, method) for path, method in asked if path.startswith("/api/")]
        assert len(guarded) >= 8
        for path, method in [*guarded, ("/api/v1/chat", "head"), ("/api/nothing", "get"), ("/api/v1/chat", "put")]:
            response = await client.request(method, path, json={"index_ids": IDS, "prompt": "What was revenue?"})
            assert response.status_code == 401, (method, path)
        assert [(await client.get(path)).status_code for path in ("/health", "/openapi.json")] == [200, 200]


@pytest.mark.parametrize("announced", ["/api", "/api/v1", "/health", "/attachments", "/", "//", "/api/", "/a/api"])
async def test_no_announced_prefix_opens_a_route_without_the_key(announced: str) -> None:
    app = create_app(indexes={"idx-docs": PaperIndex()}, agent=ScriptedAgent(*ANSWER), api_key="key")

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "root_path": announced}, receive, send)

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="http://app") as client,
    ):
        for path in ("/api/v1/chat", "/api/v1/indexes", "/v1/chat", "/chat", "//api/v1/chat", "/a/v1/chat"):
            for written in (path, announced + path, announced.rstrip("/") + path):
                response = await client.get(f"http://app{written}")
                assert response.status_code in (401, 404), (written, response.text)


@pytest.mark.parametrize("place", PLACES)
async def test_a_request_with_the_key_is_served(place: Place) -> None:
    async with served(place) as client:
        client.headers["Authorization"] = "Bearer key"
        session_id = (await client.post("/api/v1/chat")).json()["session_id"]
        body = {"index_ids": IDS, "prompt": "How many?"}
        response = await client.post(f"/api/v1/chat/{session_id}/messages/stream", json=body)
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


@pytest.mark.parametrize("place", PLACES)
async def test_a_link_to_an_image_leads_to_it_and_without_its_signature_nowhere(place: Place) -> None:
    async with served(place) as client:
        answer = await client.get(
            "/api/v1/beta/attachments/pages/1.png",
            params={"source_id": "dfl-paper"},
            headers={"Authorization": "Bearer key"},
        )
        url = httpx.URL(answer.json()["url"])
        assert (await client.get(url)).content == b"picture"
        assert (await client.get(url.copy_remove_param("signature"))).status_code == 403


@pytest.mark.parametrize("place", PLACES)
async def test_the_pace_of_a_client_is_one_for_the_api_and_the_images(place: Place) -> None:
    async with served(place, Limits(requests_per_second=2)) as client:
        paths = ["/api/v1/chat", "/attachments/idx-docs/page.png", "/api/v1/chat", "/attachments/idx-docs/page.png"]
        refused = [(await client.get(path)).status_code == 429 for path in paths]
        assert refused == [False, False, True, True]
        assert [(await client.get(path)).status_code for path in ("/health", "/openapi.json")] == [200, 200]


async def _closings(place: Place, limits: Limits | None, *opened: list[tuple[bytes, bytes]]) -> list[tuple[str, int]]:
    """What an application says to websockets that are opened one after the other, with these headers."""
    app = create_app(indexes={"idx-docs": PaperIndex()}, agent=ScriptedAgent(*ANSWER), api_key="key", limits=limits)
    outer, prefix = place(app)
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    for headers in opened:
        await outer({"type": "websocket", "path": f"{prefix}/api/v1/chat", "headers": headers}, receive, send)
    return [(message["type"], message["code"]) for message in sent]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("headers", "code"), [([], 1008), ([(b"authorization", b"Bearer key")], 1000)])
async def test_a_websocket_needs_the_key_too(place: Place, headers: list[tuple[bytes, bytes]], code: int) -> None:
    """The API has no websocket; with the key, the router closes it."""
    assert await _closings(place, None, headers) == [("websocket.close", code)]


@pytest.mark.parametrize("place", PLACES)
async def test_a_websocket_counts_towards_the_pace_and_is_closed_too(place: Place) -> None:
    limits = Limits(requests_per_second=0.001)
    assert await _closings(place, limits, [], []) == [("websocket.close", 1008), ("websocket.close", 1013)]
