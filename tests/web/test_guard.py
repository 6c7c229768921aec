"""Who may use the page, and from where."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from chat_sessions import LocalServer
from chat_sessions.web.hosting import Listener
from tests.web.browser import page_server


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    with (
        LocalServer(indexes={"idx-docs": "examples/documents"}) as server,
        server.client() as client,
        page_server(client.aio, indexes={"idx-docs": "examples/documents"}) as started,
    ):
        yield started.listener


@pytest.fixture
def browser(listener: Listener) -> Iterator[httpx.Client]:
    """A browser that was given the token."""
    with httpx.Client(
        base_url=f"http://127.0.0.1:{listener.port}", follow_redirects=True, trust_env=False, timeout=60
    ) as client:
        client.get(listener.address)
        yield client


def own(listener: Listener) -> dict[str, str]:
    return {"origin": f"http://127.0.0.1:{listener.port}"}


def test_the_token_leaves_the_address_for_a_cookie_that_no_script_and_no_other_site_gets(listener: Listener) -> None:
    response = httpx.get(listener.address, trust_env=False, timeout=60)
    assert response.status_code == 303
    assert response.headers["location"] == "/"
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


@pytest.mark.parametrize("path", ["/", "/sessions/new", "/?token=wrong", "/static/page.js", "/sessions/x/feed"])
def test_without_the_token_nothing_is_served(listener: Listener, path: str) -> None:
    response = httpx.get(f"http://127.0.0.1:{listener.port}{path}", trust_env=False, timeout=60)
    assert response.status_code == 401
    assert "chat-sessions ui" in response.text


def test_a_name_that_was_rebound_to_this_machine_is_refused(browser: httpx.Client, listener: Listener) -> None:
    at = listener.port
    for host in ("evil.example", f"evil.example:{at}", "127.0.0.1", f"127.0.0.1:{at}.evil.example"):
        assert browser.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}", ""]
)
def test_another_site_cannot_post_or_read_even_with_the_cookie(
    browser: httpx.Client, listener: Listener, origin: str
) -> None:
    headers = {"origin": origin.format(port=listener.port)}
    assert browser.post("/sessions", data={"message": "hello"}, headers=headers).status_code == 403
    assert browser.get("/", headers=headers).status_code == 403


def test_a_post_that_does_not_say_where_it_is_from_is_refused(browser: httpx.Client) -> None:
    for headers in ({}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "none"}):
        assert browser.post("/sessions", data={"message": "hello"}, headers=headers).status_code == 403


def test_every_answer_forbids_script_from_elsewhere_and_frames(browser: httpx.Client) -> None:
    for path in ("/", "/sessions/new", "/static/page.js", "/nowhere"):
        policy = browser.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy


@pytest.mark.parametrize(
    "key", ["..%2f..%2fetc%2fpasswd", "..%5c..%5csecret", "%2e%2e", "a" * 32, "annual-report-2025.pdf", "page_1.jpg"]
)
def test_no_name_of_a_file_leads_to_an_image(browser: httpx.Client, listener: Listener, key: str) -> None:
    asked = browser.post("/sessions", data={"message": "What is the revenue?"}, headers=own(listener))
    assert asked.status_code == 200
    assert browser.get(f"{asked.url.path}/images/{key}").status_code == 404
    assert browser.get(f"{asked.url.path}/images/{key}/large").status_code == 404
    assert browser.get(f"/static/{key}").status_code == 404


def test_what_cannot_be_read_gets_a_page_that_says_so(browser: httpx.Client, listener: Listener) -> None:
    answers = {
        browser.get("/sessions/ses-unknown"): (404, "Go back to the list of sessions"),
        browser.get("/?number=none"): (400, "number"),
        browser.get("/nowhere"): (404, "no such page"),
        browser.post("/sessions", data={"message": " "}, headers=own(listener)): (400, "New session"),
        browser.post("/sessions/ses-unknown/turns", data={"message": "x"}, headers=own(listener)): (404, "Not found"),
    }
    for response, (status, words) in answers.items():
        assert (response.status_code, words in response.text) == (status, True), response.text


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/sessions", "/"),
        *(
            (f"/sessions/a%20b/{form}", "/sessions/a%20b")
            for form in ("turns", "stop", "confirmation", "title", "delete")
        ),
    ],
)
def test_the_address_of_a_form_leads_to_a_page_if_it_is_opened(browser: httpx.Client, path: str, target: str) -> None:
    opened = browser.get(path, follow_redirects=False)
    assert (opened.status_code, opened.headers["location"]) == (303, target)


def test_a_method_that_an_address_does_not_take_is_refused_with_a_way_back(
    browser: httpx.Client, listener: Listener
) -> None:
    for method, path in (("PUT", "/"), ("DELETE", "/sessions/ses-1"), ("POST", "/static/page.js")):
        refused = browser.request(method, path, headers=own(listener))
        assert (refused.status_code, refused.headers["allow"].partition(",")[0]) == (405, "GET")
        assert f"this address takes no {method} request" in refused.text
        assert "Back to the sessions" in refused.text
