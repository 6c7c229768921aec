"""The site, built."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "SITE_URL": "https://docs.example/", "REPO_URL": ""}
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
def test_the_reference_explains_the_classes_that_the_package_is_about(site: Path) -> None:
    built = pages(site)
    assert 'id="chat_sessions.llama_index.SessionChatEngine.chat"' in built["reference/llama-index/index.html"]
    assert 'id="chat_sessions.langchain.SessionChatModel"' in built["reference/langchain/index.html"]
    assert 'id="chat_sessions.OpenHandsChat.interrupt"' in built["reference/clients/index.html"]
    assert 'id="chat_sessions.LlamaCloudChat.queue_key"' not in built["reference/clients/index.html"]
