"""What is fetched for a browser is an image, and no other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chat_sessions import APIConnectionError, ProtocolError
from chat_sessions.web import images
from chat_sessions.web.images import fetch_image, media_type_of
from tests.wire_server import WireServer

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100


@pytest.fixture
def server() -> Iterator[WireServer]:
    with WireServer() as started:
        yield started


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
async def test_an_image_is_known_by_its_first_bytes(server: WireServer, content: bytes, media_type: str) -> None:
    server.on("GET", "/page", lambda _request, connection: connection.respond(200, content))
    assert media_type_of(await fetch_image(f"{server.url}/page")) == media_type


@pytest.mark.parametrize("content", [b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>", b"<html>", b""])
async def test_what_is_no_image_is_refused(server: WireServer, content: bytes) -> None:
    server.on("GET", "/page", lambda _request, connection: connection.respond(200, content))
    with pytest.raises(ProtocolError, match="no PNG"):
        await fetch_image(f"{server.url}/page")


async def test_an_image_that_is_too_large_is_refused(server: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_LARGEST", 50)
    server.on("GET", "/page", lambda _request, connection: connection.respond(200, PNG))
    with pytest.raises(ProtocolError, match="larger than 50 bytes"):
        await fetch_image(f"{server.url}/page")


async def test_an_error_does_not_quote_the_link_which_works_without_a_key(server: WireServer) -> None:
    server.on("GET", "/page", lambda _request, connection: connection.respond(403, {}))
    for url in (f"{server.url}/page?signature=secret", f"{server.url}/gone?signature=secret", "http://[?secret"):
        with pytest.raises(APIConnectionError) as caught:
            await fetch_image(url)
        assert "secret" not in str(caught.value)


async def test_no_proxy_of_the_environment_is_asked_for_this_machine(
    server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server.on("GET", "/page", lambda _request, connection: connection.respond(200, PNG))
    assert await fetch_image(f"{server.url}/page") == PNG
