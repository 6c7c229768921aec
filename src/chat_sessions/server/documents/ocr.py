"""Which languages Tesseract has data for on this machine: without any, no page is recognised."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

__all__ = ["data_folder", "ocr_languages"]

_MOST = 6
_FOLDERS = (
    "/usr/share/tesseract-ocr/5/tessdata",
    "/usr/share/tesseract-ocr/4.00/tessdata",
    "/usr/share/tessdata",
    "/usr/local/share/tessdata",
    "/opt/homebrew/share/tessdata",
    "C:\\Program Files\\Tesseract-OCR\\tessdata",
)
# Data for other purposes than the text of a language.
_OTHERS = frozenset(("equ", "osd", "snum"))


@cache
def ocr_languages() -> tuple[str, ...]:
    """Return the codes of the languages, English first and at most six; empty without any."""
    folder = data_folder()
    found = {path.stem for path in folder.glob("*.traineddata")} - _OTHERS if folder else set[str]()
    # Each language costs time on every page.
    return tuple(sorted(found, key=lambda name: (name != "eng", name))[:_MOST])


@cache
def data_folder() -> Path | None:
    """Return the folder of Tesseract's data: `TESSDATA_PREFIX`, else where packages install it."""
    named = os.environ.get("TESSDATA_PREFIX")
    folders = [Path(named), Path(named) / "tessdata"] if named else [Path(name) for name in _FOLDERS]
    return next((folder for folder in folders if any(folder.glob("*.traineddata"))), None)
