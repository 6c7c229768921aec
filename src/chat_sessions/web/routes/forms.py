"""What forms send."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form
from pydantic import AfterValidator

__all__ = ["Message"]


def _as_typed(text: str) -> str:
    """Return the text with its own line ends: a browser sends those of a form's fields as CRLF, a script as LF."""
    return text.replace("\r\n", "\n")


Message = Annotated[str, Form(), AfterValidator(_as_typed)]
"""A message from a form, the same whether the browser sent it by itself or htmx did."""
