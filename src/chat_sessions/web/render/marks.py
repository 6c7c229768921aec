"""Where passages are on their page images, if the service reports it.

The fields have the names of the platform's extraction: `bounding_boxes` of `{x, y, w, h}` from the top left corner, in
the unit of `page_dimensions`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from chat_sessions.core.sources import Source

__all__ = ["Box", "Marks", "marks_of"]

_MOST = 50
# Boxes are tight around the letters; a mark is a little larger.
_ROOM = 0.005


@dataclass(frozen=True)
class Box:
    """A rectangle on a page."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Marks:
    """The rectangles that mark a passage, on a page of this size."""

    width: float
    height: float
    boxes: tuple[Box, ...]

    @property
    def unit(self) -> float:
        """A hundredth of the page's width, for what is drawn next to the rectangles."""
        return self.width / 100


def marks_of(source: Source) -> Marks | None:
    """Return the marks of a passage, or None if its place on the page is unknown. Never raises."""
    size, boxes = source.metadata.get("page_dimensions"), source.metadata.get("bounding_boxes")
    if source.image is None or not isinstance(size, Mapping) or not isinstance(boxes, list):
        return None
    page = _numbers(size, "width", "height")
    if page is None or min(page) <= 0:
        return None
    width, height = page
    found = tuple(box for item in boxes[:_MOST] if (box := _box(item, width, height)) is not None)
    return Marks(width, height, found) if found else None


def _box(item: JsonValue, width: float, height: float) -> Box | None:
    """Return a rectangle with a margin, or None for one that is not on the page."""
    numbers = _numbers(item, "x", "y", "w", "h") if isinstance(item, Mapping) else None
    if numbers is None:
        return None
    x, y, w, h = numbers
    room = _ROOM * max(width, height)
    left, top = max(0.0, x - room), max(0.0, y - room)
    right, bottom = min(width, x + w + room), min(height, y + h + room)
    if w <= 0 or h <= 0 or right <= left or bottom <= top:
        return None
    return Box(*(round(value, 2) for value in (left, top, right - left, bottom - top)))


def _numbers(item: Mapping[str, JsonValue], *names: str) -> list[float] | None:
    found = [item.get(name) for name in names]
    numbers = [float(value) for value in found if isinstance(value, int | float) and not isinstance(value, bool)]
    return numbers if len(numbers) == len(names) and all(map(math.isfinite, numbers)) else None
