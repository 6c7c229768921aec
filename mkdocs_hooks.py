"""What the site adds to its pages: the README and SECURITY.md of the repository, notes, and `llms.txt`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
# A file beside the pages, as GitHub finds it from a page.
BESIDE = re.compile(r"(\[[^\]]+\])\((?:\.\./)+(examples/[^)]+)\)")
FILES = {"changelog.md": "CHANGELOG.md", "index.md": "README.md", "security.md": "SECURITY.md"}
# What makes a client from the environment.
NEEDS_KEY = re.compile(r"^(?:\w+ = |.*\bclient=)?LlamaCloudChat\(\)", re.MULTILINE)


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Return the page with a way to run it without a key, where it needs one, and with a link to the glossary.

    Links to examples lead to the repository; without an address of one, only their words are left.
    """
    source = page.file.src_uri
    if source in FILES:
        markdown = repository_file(FILES[source])
    files = f"{config.repo_url.rstrip('/')}/blob/HEAD/" if config.repo_url else ""
    markdown = BESIDE.sub(lambda link: f"{link[1]}({files}{link[2]})" if files else link[1][1:-1], markdown)
    up = "../" * source.count("/")
    if NEEDS_KEY.search(markdown) and not source.startswith(("start/", "getting-started")):
        note = (
            '!!! tip "No key?"\n    The examples on this page also run against a server on your machine: '
            f"[start it]({up}getting-started.md#without-a-key) first.\n"
        )
        markdown = re.sub(r"^(# .*\n)", lambda title: f"{title[1]}\n{note}", markdown, count=1, flags=re.MULTILINE)
    if source == "glossary.md":
        return markdown
    words = "session, event, turn, tool run, source, backend, summary, index"
    return f"{markdown}\n\n---\n\n[Glossary]({up}glossary.md): {words}.\n"


def on_post_build(config: Any, **_: Any) -> None:
    """Write `llms.txt`: each page of the site with what it is about."""
    lines = [f"# {config.site_name}", "", f"> {config.site_description}"]
    folder = ROOT / "docs"
    for section in config.nav:
        (title, pages), *_rest = section.items()
        if isinstance(pages, str):
            pages = [{title: pages}]
        lines += ["", f"## {title}", ""]
        for entry in pages:
            ((name, path),) = entry.items()
            text = repository_file(FILES[path]) if path in FILES else (folder / path).read_text()
            address = (config.site_url or "") + re.sub(r"(^|/)index/$", r"\1", path.removesuffix(".md") + "/")
            lines.append(f"- [{name}]({address or './'}): {about(text) or 'every change'}")
    (Path(config.site_dir) / "llms.txt").write_text("\n".join(lines) + "\n")


def about(markdown: str) -> str:
    """Return the first sentence of a page, without its links."""
    body = re.sub(r"\A---\n.*?\n---\n", "", markdown, flags=re.DOTALL)
    for block in re.split(r"\n\s*\n", body):
        text = " ".join(block.split())
        if text[:1].isalnum() or (text.startswith(("`", "**")) and not text.startswith("```")):
            return re.split(r"(?<=[.:])\s", re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text))[0].rstrip(":")
    return ""


def repository_file(name: str) -> str:
    """Return a file of the repository with its links as they are from the site's first page."""
    text = (ROOT / name).read_text()
    text = text.replace("](docs/", "](").replace("](CHANGELOG.md)", "](changelog.md)")
    text = text.replace("](SECURITY.md)", "](security.md)")
    return text.replace(" How to work on the project: [AGENTS.md](AGENTS.md).", "")
