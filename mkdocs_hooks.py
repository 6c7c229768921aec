"""The site's first page is the README, with its links as they stand from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The README in the place of index.md."""
    if page.file.src_uri != "index.md":
        return markdown
    text = (Path(__file__).parent / "README.md").read_text()
    text = text.replace("](docs/", "](").replace("](CHANGELOG.md)", "](changelog.md)")
    return text.replace(" How to work on the project: [AGENTS.md](AGENTS.md).", "")
