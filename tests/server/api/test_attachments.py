from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx
import pytest

from chat_sessions.server.api.links import LinkSigner
from chat_sessions.server.turns.behaviour import Behaviour
from tests.server.scripted import LocalApi, PaperIndex

Start = Callable[..., LocalApi]

PICTURES = {f"screenshots/page_{number}.jpg": b"picture %d" % number for number in (1, 2, 3)}


@pytest.fixture
def paper() -> PaperIndex:
    return PaperIndex(
        attachments={**PICTURES, "drawing.svg": b"<svg/>", "plain.png": b"png", "odd name?&#é.jpg": b"odd"}
    )


@pytest.fixture
def library(start: Start, paper: PaperIndex) -> LocalApi:
    return start(indexes={"idx-other": PaperIndex("idx-other", source_id="dfl-other"), "idx-docs": paper})


def link(api: LocalApi, name: str, source_id: str = "dfl-paper") -> httpx.Response:
    return api.http.get(f"/api/v1/beta/attachments/{name}", params={"source_id": source_id})


@pytest.mark.parametrize("name", ["screenshots/page_2.jpg", "screenshots%2Fpage_2.jpg", "screenshots%2fpage_2.jpg"])
def test_a_link_to_a_page_image_works_without_the_key(library: LocalApi, name: str) -> None:
    response = link(library, name)
    assert response.status_code == 200
    body = response.json()
    assert body.keys() == {"url", "expires_at", "form_fields"}
    assert body["url"].startswith(library.server.url)
    assert datetime.fromisoformat(body["expires_at"]).utcoffset() is not None
    image = httpx.get(body["url"], trust_env=False, timeout=60)
    assert (image.content, image.headers["content-type"]) == (b"picture 2", "image/jpeg")
    assert image.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("prefix", "shown"),
    [("/chat", "/chat"), ("/team/chat-1/", "/team/chat-1"), ("/", ""), ("//evil.example", ""), ("/a?b", ""), ("x", "")],
)
def test_a_link_has_the_scheme_the_host_and_the_path_that_a_proxy_was_asked_for(
    library: LocalApi, prefix: str, shown: str
) -> None:
    headers = {"Host": "docs.example", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": prefix}
    path = "/api/v1/beta/attachments/plain.png"
    url = library.http.get(path, params={"source_id": "dfl-paper"}, headers=headers).json()["url"]
    assert url.startswith(f"https://docs.example{shown}/attachments/dfl-paper/plain.png?")


def test_a_scheme_that_another_machine_names_counts_only_if_the_environment_has_its_address(
    start: Start, paper: PaperIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    schemes: list[str] = []
    # The proxy of this test is on 127.0.0.1, which counts by default.
    for trusted in ("10.0.0.9", "10.0.0.9,127.0.0.1"):
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", trusted)
        api = start(indexes={"idx-docs": paper})
        headers = {"X-Forwarded-Proto": "https"}
        path = "/api/v1/beta/attachments/plain.png"
        answer = api.http.get(path, params={"source_id": "dfl-paper"}, headers=headers)
        schemes.append(httpx.URL(answer.json()["url"]).scheme)
    assert schemes == ["http", "https"]


def test_a_name_with_any_character_makes_a_link_that_works(library: LocalApi) -> None:
    url = link(library, "odd%20name%3F%26%23%C3%A9.jpg").json()["url"]
    assert httpx.get(url, trust_env=False, timeout=60).content == b"odd"


@pytest.mark.parametrize(
    ("name", "media_type"), [("plain.png", "image/png"), ("drawing.svg", "application/octet-stream")]
)
def test_only_what_cannot_hold_a_script_is_served_as_an_image(library: LocalApi, name: str, media_type: str) -> None:
    url = link(library, name).json()["url"]
    assert httpx.get(url, trust_env=False, timeout=60).headers["content-type"] == media_type


@pytest.mark.parametrize(("slash", "raw", "encoded"), [("both", 200, 200), ("slash", 200, 404), ("encoded", 404, 200)])
def test_the_slash_of_a_name_is_taken_in_the_forms_told(
    start: Start, paper: PaperIndex, slash: Any, raw: int, encoded: int
) -> None:
    api = start(indexes={"idx-docs": paper}, behaviour=Behaviour(attachment_slash=slash))
    assert link(api, "screenshots/page_1.jpg").status_code == raw
    assert link(api, "screenshots%2Fpage_1.jpg").status_code == encoded
    assert link(api, "plain.png").status_code == 200


@pytest.mark.parametrize(
    ("name", "source_id"),
    [
        ("screenshots/page_9.jpg", "dfl-paper"),
        ("screenshots/page_1.jpg", "dfl-unknown"),
        ("..%2F..%2Fetc%2Fpasswd", "dfl-paper"),
        ("", "dfl-paper"),
    ],
)
def test_an_attachment_that_no_index_has_is_a_404(library: LocalApi, name: str, source_id: str) -> None:
    response = link(library, name, source_id)
    assert response.status_code == 404
    assert isinstance(response.json()["detail"], str)


@pytest.mark.parametrize("path", ["/api/v1/beta/attachments", "/api/v1/beta/attachments/x.jpg"])
@pytest.mark.parametrize("query", ["", "?source_id="])
def test_attachments_need_a_source(library: LocalApi, path: str, query: str) -> None:
    response = library.http.get(path + query)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["query", "source_id"]


def test_attachments_are_listed_by_page_with_their_size(library: LocalApi) -> None:
    query: dict[str, Any] = {"source_id": "dfl-paper", "page_size": 2}
    names: list[str] = []
    sizes: list[int] = []
    for _ in range(3):
        page = library.http.get("/api/v1/beta/attachments", params=query).json()
        names += [item["name"] for item in page["items"]]
        sizes += [item["size"] for item in page["items"]]
        query["page_token"] = page["next_page_token"]
    assert query["page_token"] is None
    assert names == [*PICTURES, "drawing.svg", "plain.png", "odd name?&#é.jpg"]
    assert sizes == [9, 9, 9, 6, 3, 3]


def test_an_attachment_that_cannot_be_drawn_is_not_listed_and_has_no_image(
    library: LocalApi, paper: PaperIndex
) -> None:
    paper.listed_only.append("screenshots/page_8.jpg")
    page = library.http.get("/api/v1/beta/attachments", params={"source_id": "dfl-paper"}).json()
    assert "screenshots/page_8.jpg" not in [item["name"] for item in page["items"]]
    url = link(library, "screenshots/page_8.jpg").json()["url"]
    assert httpx.get(url, trust_env=False, timeout=60).status_code == 404


def test_the_attachments_of_an_unknown_source_are_a_404(library: LocalApi) -> None:
    response = library.http.get("/api/v1/beta/attachments", params={"source_id": "dfl-unknown"})
    assert (response.status_code, response.json()) == (404, {"detail": "source dfl-unknown not found"})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("page_2", "page_1"),
        ("dfl-paper", "dfl-other"),
        ("expires=", "expires=9"),
        ("signature=", "signature=0"),
        ("signature=", "signature=%C3%A4"),
        ("?expires=", "?x="),
    ],
)
def test_a_link_that_was_changed_does_not_work(library: LocalApi, old: str, new: str) -> None:
    url = link(library, "screenshots/page_2.jpg").json()["url"]
    response = httpx.get(url.replace(old, new), trust_env=False, timeout=60)
    assert response.status_code == 403
    assert "expired" in response.json()["detail"]


def test_a_link_works_until_it_expires() -> None:
    now = 1000.0
    signer = LinkSigner(b"secret", lifetime=60, now=lambda: now)
    path, expires = signer.sign("dfl-1", "a/b.jpg")
    assert expires == 1060
    assert path.startswith("/attachments/dfl-1/a/b.jpg?expires=1060&signature=")
    signature = path.rpartition("=")[2]
    now = 1059.9
    assert signer.accepts("dfl-1", "a/b.jpg", expires="1060", signature=signature)
    now = 1060.0
    assert not signer.accepts("dfl-1", "a/b.jpg", expires="1060", signature=signature)


def test_the_lifetime_of_a_link_can_be_set(start: Start, paper: PaperIndex) -> None:
    api = start(indexes={"idx-docs": paper}, attachment_lifetime=0.001)
    response = httpx.get(link(api, "plain.png").json()["url"], trust_env=False, timeout=60)
    assert response.status_code == 403
