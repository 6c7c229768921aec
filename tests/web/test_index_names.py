"""An index has an id, and on the page also a name; both are shown or found."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from chat_sessions import LocalServer
from tests.web.browser import page_server

NAME = "All of the documents"


@pytest.fixture(scope="module")
def asked() -> Iterator[tuple[httpx.Client, str]]:
    """A browser that has the page open, and the id of a session."""
    with (
        LocalServer(indexes={"idx-docs": "examples/documents"}) as server,
        server.client() as client,
        page_server(client.aio, index_name={"idx-docs": NAME}.__getitem__) as served,
        httpx.Client(
            base_url=f"http://127.0.0.1:{served.listener.port}",
            follow_redirects=True,
            trust_env=False,
            timeout=60,
        ) as browser,
    ):
        browser.get(served.listener.address)
        session = client.session()
        session.ask("How long is the warranty?")
        assert session.id is not None
        yield browser, session.id


@pytest.mark.parametrize("words", ["idx-DOCS", "of the documents"])
def test_a_search_finds_sessions_by_the_id_and_the_name_of_an_index(
    asked: tuple[httpx.Client, str], words: str
) -> None:
    browser, session_id = asked
    assert session_id in browser.get("/", params={"q": words}).text
    assert session_id not in browser.get("/", params={"q": f"{words} or others"}).text


@pytest.mark.parametrize(
    ("as_format", "shown"),
    [
        ("markdown", f"{NAME} (idx-docs)"),
        ("html", f"{NAME} (idx-docs)"),
        ("json", '"index_ids": [\n    "idx-docs"\n  ]'),
    ],
)
def test_an_export_has_the_name_beside_the_id_where_people_read_it(
    asked: tuple[httpx.Client, str], as_format: str, shown: str
) -> None:
    browser, session_id = asked
    exported = browser.get(f"/sessions/{session_id}/export/{as_format}").text
    assert shown in exported
    assert (NAME in exported) == (as_format != "json")
