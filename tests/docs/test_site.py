"""The site, built."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, expect

from tests.web.browser import chromium

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {
        **os.environ,
        "NO_MKDOCS_2_WARNING": "1",
        "SITE_URL": "https://docs.example/",
        "REPO_URL": "https://git.example/chat-sessions",
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def pages(site: Path) -> dict[str, str]:
    return {str(page.relative_to(site)): page.read_text() for page in site.rglob("index.html")}


# A build takes about ten seconds on a machine that does nothing else.
@pytest.mark.timeout(240)
def test_every_page_links_the_glossary_and_its_neighbours(site: Path) -> None:
    built = pages(site)
    assert len(built) >= 35
    for name, html in built.items():
        assert 'glossary/"' in html or name == "glossary/index.html", name
        assert 'rel="next"' in html or 'rel="prev"' in html, name


@pytest.mark.timeout(240)
def test_llms_txt_has_every_page_with_what_it_is_about(site: Path) -> None:
    lines = [line for line in (site / "llms.txt").read_text().splitlines() if line.startswith("- ")]
    assert len(lines) == len(pages(site))
    for line in lines:
        address = line.partition("](")[2].partition(")")[0]
        assert (site / address.removeprefix("https://docs.example/") / "index.html").exists(), line
        assert len(line.partition("): ")[2]) > 10, line


@pytest.mark.timeout(240)
def test_a_page_that_needs_a_key_says_how_to_do_without(site: Path) -> None:
    built = pages(site)
    for name in ("client", "turns", "llama-index", "langchain/chain"):
        assert "getting-started/#without-a-key" in built[f"{name}/index.html"], name


@pytest.mark.timeout(240)
def test_a_file_that_a_page_shows_is_linked_at_the_repository(site: Path) -> None:
    built = pages(site)
    for name, path in {
        "recipes/graphs": "examples/recipes/supervisor.py",
        "web-applications": "examples/web_application.py",
    }.items():
        assert f'href="https://git.example/chat-sessions/blob/HEAD/{path}"' in built[f"{name}/index.html"]


@pytest.mark.timeout(240)
def test_the_reference_explains_the_classes_that_the_package_is_about(site: Path) -> None:
    built = pages(site)
    assert 'id="chat_sessions.llama_index.SessionChatEngine.chat"' in built["reference/llama-index/index.html"]
    assert 'id="chat_sessions.langchain.SessionChatModel"' in built["reference/langchain/index.html"]
    assert 'id="chat_sessions.OpenHandsChat.interrupt"' in built["reference/clients/index.html"]
    assert 'id="chat_sessions.LlamaCloudChat.queue_key"' not in built["reference/clients/index.html"]


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The site behind a web server."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, directory=str(site))

        def log_message(self, format: str, *_: Any) -> None:
            """Prints nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("SessionChatEngine", "reference/llama-index/#chat_sessions.llama_index.SessionChatEngine"),
        ("SessionChatModel", "reference/langchain/#chat_sessions.langchain.SessionChatModel"),
        ("LocalServer", "reference/clients/#chat_sessions.LocalServer"),
        ("TurnStalled", "errors/#chat_sessions.TurnStalled"),
    ],
)
def test_the_search_finds_a_class_first(address: str, browser: Browser, name: str, entry: str) -> None:
    page = browser.new_page()
    page.goto(address)
    # Typed, as the search listens for keys: it misses a text that is filled in once its index is there.
    page.get_by_role("textbox", name="Search").press_sequentially(name)
    results = page.locator(".md-search-result__link")
    # The page that the class is on, and the class on it.
    expect(results.nth(1)).to_be_attached(timeout=30_000)
    found = [str(results.nth(number).get_attribute("href")).partition("?") for number in range(2)]
    addresses = [
        before.removeprefix(address) + after.partition("#")[1] + after.partition("#")[2] for before, _, after in found
    ]
    assert addresses == [entry.partition("#")[0], entry]
    page.close()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_screen_and_no_code_in_a_table_breaks(
    address: str, site: Path, browser: Browser, width: int, scheme: Literal["light", "dark"]
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    for name in ("", "turns/", "cli/", "recipes/", "deployment/", "troubleshooting/", "reference/clients/"):
        page.goto(address + name)
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0, name
        broken = "Array.from(document.querySelectorAll('td code')).filter(e => e.getClientRects().length > 1).length"
        assert page.evaluate(broken) == 0, name
    page.close()


@pytest.mark.timeout(240)
def test_every_page_has_the_name_the_mark_and_the_menu_of_versions(site: Path) -> None:
    for name, html in pages(site).items():
        assert 'assets/mark.svg" alt="logo"' in html, name
        assert 'class="md-header__button md-logo"' in html, name
        assert '"provider": "mike"' in html, name
    assert '"https://docs.example/turns/"' in pages(site)["turns/index.html"]
    assert 'href="https://git.example/chat-sessions"' in pages(site)["turns/index.html"]
    assert 'src="assets/page.png"' in pages(site)["index.html"]
