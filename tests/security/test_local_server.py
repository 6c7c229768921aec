"""Who may ask the local server, from where, and what they can reach."""

from __future__ import annotations

import hmac
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from chat_sessions import ConfigurationError
from chat_sessions.server import ServerThread, serve
from chat_sessions.server.api import keys
from tests.server.scripted import ANSWER, PaperIndex, ScriptedAgent

KEY = "THE-KEY-0123456789"
DOCUMENTS = Path(__file__).parents[2] / "examples" / "documents"
PATHS = ["/api/v1/chat", "/api/v1/indexes", "/api/v1/beta/attachments?source_id=x", "/openapi.json", "/health"]


@pytest.fixture(scope="module")
def server() -> Iterator[ServerThread]:
    with ServerThread(indexes={"idx-docs": DOCUMENTS}, api_key=KEY) as running:
        yield running


@pytest.fixture
def http(server: ServerThread) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        yield client


def signed(headers: dict[str, str] | None = None) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEY}", **(headers or {})}


def exchange(server: ServerThread, request: bytes) -> bytes:
    """The whole answer to a request that no HTTP client would write."""
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(request)
        answer = b""
        while data := sock.recv(65536):
            answer += data
        return answer


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1", "localhost", "[::1]"])
def test_a_name_that_leads_to_this_machine_opens_nothing_without_the_key(http: httpx.Client, host: str) -> None:
    """DNS rebinding: a page of another site reaches the server under that site's name, without the key."""
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    assert http.get("/api/v1/chat", headers=headers).status_code == 401
    assert http.post("/api/v1/chat", headers=headers).status_code == 401


@pytest.mark.parametrize("path", PATHS)
def test_no_answer_can_be_read_by_a_page_of_another_origin(http: httpx.Client, path: str) -> None:
    origin = {"Origin": "http://evil.example"}
    for response in (http.get(path, headers=signed(origin)), http.get(path, headers=origin)):
        assert not [name for name in response.headers if name.startswith("access-control-")]
    preflight = http.options(
        path,
        headers={**origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"},
    )
    assert preflight.status_code in (401, 405)
    assert not [name for name in preflight.headers if name.startswith("access-control-")]


def test_the_key_counts_in_its_header_alone(http: httpx.Client) -> None:
    """A page can make a browser send a query, a cookie or a form; it cannot make it send this header."""
    assert (
        http.get("/api/v1/chat", params={"api_key": KEY, "token": KEY, "authorization": f"Bearer {KEY}"}).status_code
        == 401
    )
    assert http.get("/api/v1/chat", headers={"Cookie": f"session={KEY}; Authorization=Bearer {KEY}"}).status_code == 401
    assert http.post("/api/v1/chat", data={"authorization": f"Bearer {KEY}"}).status_code == 401
    assert http.get("/api/v1/chat", headers={"X-API-Key": KEY}).status_code == 401


@pytest.mark.parametrize(
    "path", ["//api/v1/chat", "/./api/v1/chat", "/x/../api/v1/chat", "/%61pi/v1/chat", "/API/v1/chat"]
)
def test_no_way_of_writing_a_path_leads_past_the_key(server: ServerThread, path: str) -> None:
    answer = exchange(server, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.split(b" ")[1] in (b"401", b"404")


def test_a_key_is_compared_whole_and_in_constant_time(server: ServerThread, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[Any, Any]] = []

    def compare(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    class Watched:
        compare_digest = staticmethod(compare)

    monkeypatch.setattr(keys, "hmac", Watched)
    for key in (KEY[:-1], KEY + "x", KEY.lower(), "é"):
        headers = {b"Authorization": f"Bearer {key}".encode()}
        response = httpx.get(f"{server.url}/api/v1/chat", headers=headers, trust_env=False, timeout=60)
        assert response.status_code == 401
    assert [other for _, other in compared] == [KEY.encode()] * 4


def test_a_link_is_made_for_the_address_that_was_asked_and_signed_for_any(http: httpx.Client) -> None:
    """A Host header that lies harms the one who sent it, with the key: nobody else is given that link."""
    index_id = http.get("/api/v1/indexes", headers=signed()).json()["items"][0]["index_id"]
    assert index_id == "idx-docs"
    session_id = http.post("/api/v1/chat", headers=signed()).json()["session_id"]
    body = {"index_ids": ["idx-docs"], "prompt": "What was revenue in the third quarter?"}
    told = http.post(f"/api/v1/chat/{session_id}/messages/stream", json=body, headers=signed()).text
    source_id = "dfl-" + told.partition('"source_id":"dfl-')[2][:16]
    path = "/api/v1/beta/attachments/screenshots%2Fpage_1.jpg"
    link = http.get(path, params={"source_id": source_id}, headers=signed({"Host": "other.example"}))
    assert link.status_code == 200, link.text
    url = httpx.URL(link.json()["url"])
    assert url.host == "other.example"
    image = http.get(url.raw_path.decode())
    assert image.status_code == 200
    assert image.headers["cache-control"] == "private"
    # A key is no part of it, and the signature is no key.
    assert KEY not in str(url)
    assert http.get("/api/v1/chat", headers={"Authorization": f"Bearer {url.params['signature']}"}).status_code == 401


@pytest.mark.parametrize(
    "name",
    [
        "..%2F..%2Fetc%2Fpasswd",
        "%2Fetc%2Fpasswd",
        "screenshots%2F..%2F..%2Fhandbook.md",
        "screenshots%2Fpage_1.jpg%00",
        "screenshots%5Cpage_1.jpg",
        "%252e%252e%252fhandbook.md",
        "....//handbook.md",
        "%c0%ae%c0%ae/handbook.md",
    ],
)
def test_an_attachments_name_leads_out_of_no_folder_however_it_is_written(server: ServerThread, name: str) -> None:
    source_id = server_source(server)
    for path in (
        f"/api/v1/beta/attachments/{name}?source_id={source_id}",
        f"/attachments/{source_id}/{name}?expires=9&signature=0",
    ):
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n\r\n"
        assert exchange(server, request.encode()).split(b" ")[1] in (b"403", b"404")


def server_source(server: ServerThread) -> str:
    """The id of a document that the server has."""
    from chat_sessions.server.documents.indexes import open_index

    return open_index("idx-docs", DOCUMENTS).documents[0].file_id


@pytest.mark.parametrize("body", [b"[" * 500_000, b'{"a":' * 100_000, b'{"index_ids": ' + b"[" * 400_000])
def test_a_body_nested_without_end_is_refused_and_the_server_goes_on(http: httpx.Client, body: bytes) -> None:
    response = http.post("/api/v1/chat", content=body, headers=signed())
    assert response.status_code == 422
    assert len(response.content) < 2 * len(body) + 1000
    assert http.get("/health").status_code == 200


def test_an_announced_body_beyond_the_limit_is_refused_before_it_is_sent(server: ServerThread) -> None:
    request = f"POST /api/v1/chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {2**62}\r\n"
    request += "Connection: close\r\n\r\n"
    assert exchange(server, request.encode()).startswith(b"HTTP/1.1 413")


def test_what_a_request_says_is_answered_as_json_that_no_browser_takes_for_a_page(http: httpx.Client) -> None:
    markup = "<script>alert(1)</script>"
    for response in (
        http.get(f"/api/v1/chat/{markup}", headers=signed()),
        http.get("/api/v1/chat", params={"page_token": markup}, headers=signed()),
        http.get(f"/attachments/{markup}/{markup}", params={"expires": markup, "signature": markup}),
        http.get(f"/{markup}"),
    ):
        assert response.status_code >= 400
        assert response.headers["content-type"] == "application/json"


def test_a_failure_of_the_server_tells_its_client_nothing_of_the_inside() -> None:
    class Failing(PaperIndex):
        def attachments(self, source_id: str) -> list[str] | None:
            raise RuntimeError(f"/home/someone/documents {KEY}")

    with ServerThread(indexes={"idx-docs": Failing()}, agent=ScriptedAgent(*ANSWER), api_key=KEY) as server:
        response = httpx.get(
            f"{server.url}/api/v1/beta/attachments?source_id=x", headers=signed(), trust_env=False, timeout=60
        )
    assert (response.status_code, response.json()) == (500, {"detail": "internal server error"})


def test_the_server_listens_on_this_machine_alone_unless_told_and_then_wants_a_key_of_the_callers(
    server: ServerThread,
) -> None:
    assert server.url.startswith("http://127.0.0.1:")
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(ConfigurationError, match="can be reached from other machines: give an api_key of your own"):
            serve(indexes={"idx-docs": DOCUMENTS}, host=host)
