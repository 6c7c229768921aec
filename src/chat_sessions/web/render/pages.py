"""Render the templates."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.environment import TemplateModule

__all__ = ["render", "template_part"]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("chat_sessions.web", "render/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["segment"] = lambda value: quote(str(value), safe="")
    environment.filters["when"] = _when
    return environment


def render(name: str, **values: Any) -> str:
    """Render a page."""
    return _environment().get_template(name).render(**values)


def template_part(name: str, macro: str, *values: Any, **named: Any) -> str:
    """Render a part of a page: a macro of a template with these values."""
    module: TemplateModule = _environment().get_template(name).module  # loaded once for each template
    return str(getattr(module, macro)(*values, **named))


def _when(value: datetime) -> str:
    return f"{value.astimezone():%Y-%m-%d %H:%M}"
