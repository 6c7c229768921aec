"""A session as a file: Markdown, JSON, or HTML that needs nothing but itself."""

from __future__ import annotations

from chat_sessions.web.export.documents import FORMATS, Format, export, file_name

__all__ = ["FORMATS", "Format", "export", "file_name"]
