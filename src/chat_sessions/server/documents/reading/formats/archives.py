"""Zip archives with some of their parts changed, for what kreuzberg cannot read as it is."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Container
from xml.etree.ElementTree import ParseError

__all__ = ["DAMAGED", "rewritten"]

DAMAGED = (KeyError, ParseError, zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError)
"""What reading a part of an archive may raise."""

# kreuzberg refuses a file with a larger part.
_MAX_PART_BYTES = 100 * 1024 * 1024


def rewritten(
    data: bytes, change: Callable[[str, bytes, Container[str]], bytes], *, without: tuple[str, ...] = ()
) -> bytes:
    """Return an archive with what `change` makes of each part, and without those whose names begin with `without`.

    `change` is called with the name of a part, the part, and the names of all.
    One that is damaged or too large is returned as it is, for kreuzberg to refuse, and so is one that nothing changes.
    """
    target = io.BytesIO()
    is_changed = False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(target, "w") as copy:
            members = {member.filename: member for member in archive.infolist()}
            for name, member in members.items():
                if name.startswith(without):
                    continue
                if member.file_size > _MAX_PART_BYTES:
                    return data
                part = archive.read(member)
                changed = change(name, part, members)
                is_changed = is_changed or changed != part
                copy.writestr(name, changed)
    except DAMAGED:
        return data
    return target.getvalue() if is_changed else data
