"""The site's pages for the README and SECURITY.md of the repository, with links as they stand from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The file of the repository in the place of the page of its name."""
    name = {"index.md": "README.md", "security.md": "SECURITY.md"}.get(page.file.src_uri)
    if name is None:
        return markdown
    text = (Path(__file__).parent / name).read_text()
    text = text.replace("](docs/", "](").replace("](CHANGELOG.md)", "](changelog.md)")
    text = text.replace("](SECURITY.md)", "](security.md)")
    return text.replace(" How to work on the project: [AGENTS.md](AGENTS.md).", "")
