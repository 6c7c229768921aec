"""What a file is, judged by its content: a name can lie, and many files have none that says anything."""

from __future__ import annotations

import csv
import email.parser
import email.policy
import io
import json
import re
import zipfile
from dataclasses import dataclass
from typing import cast

from chat_sessions.server.documents.reading.encodings import Decoded, decoded

__all__ = ["Kind", "Picture", "Unreadable", "kind_of"]

MAX_UNPACKED_BYTES = 500 * 1024 * 1024
"""An archive that claims to unpack to more is not opened."""

_OFFICE = "application/vnd.openxmlformats-officedocument."
_ZIPPED = {
    "word/document.xml": f"{_OFFICE}wordprocessingml.document",
    "ppt/presentation.xml": f"{_OFFICE}presentationml.presentation",
    "xl/workbook.xml": f"{_OFFICE}spreadsheetml.sheet",
    "xl/workbook.bin": "application/vnd.ms-excel.sheet.binary.macroEnabled.12",
}
# The first stream's name in UTF-16, as an OLE file keeps it.
_OLE = {
    "WordDocument": "application/msword",
    "PowerPoint Document": "application/vnd.ms-powerpoint",
    "Workbook": "application/vnd.ms-excel",
    "Book": "application/vnd.ms-excel",
    "__properties_version1.0": "application/vnd.ms-outlook",
}
_DECLARED = frozenset(
    (
        "application/epub+zip",
        "application/vnd.oasis.opendocument.text",
        "application/vnd.oasis.opendocument.spreadsheet",
        "application/vnd.oasis.opendocument.presentation",
    )
)
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\1\0")
_HTML = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.{0,2000}?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
_MAIL_HEADERS = frozenset(("from", "to", "subject", "date", "received", "message-id", "return-path", "mime-version"))
_HEADER = re.compile(r"[!-9;-~]+:|[ \t]+\S")
_MAGIC = 1024
# In characters and lines: how much of a text is examined to tell whether it is a table, if its name does not say.
_JUDGED, _FEWEST_LINES, _MOST_LINES = 8192, 3, 50
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_DAMAGED = "\ufffd"
# Of damaged UTF-8, this many characters or more are whole to one that is not: bytes of other encodings fit by chance.
_WHOLE = 4
# Letters that no other encoding has there: their bytes would be a capital and a sign within a word.
_IN_WORD = re.compile("(?<=[a-z])[\xdf-\xff]|[\xc0-\xff](?=[a-z])")
# Bytes of programs and data, not of text.
_CONTROLS = bytes({*range(32)} - set(b"\t\n\v\f\r\x1b"))


class Unreadable(Exception):
    """A file cannot be read. The message says why, without its name."""


class Picture(Unreadable):
    """A file is a picture, which has no text."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file is: its media type, and its text if it is one.

    `encoding` is that of the text, "" for a file that is not a text. `notes` are sentences on how it was read.
    """

    media_type: str
    text: str = ""
    encoding: str = ""
    notes: tuple[str, ...] = ()


def kind_of(data: bytes, name: str) -> Kind:
    """Judge a file by its content. `name` decides only between kinds of text that look alike.

    Raises `Unreadable` for what cannot be served.
    """
    if not data:
        raise Unreadable("it is empty")
    if b"%PDF-" in data[:_MAGIC]:
        return Kind("application/pdf")
    if data.startswith(b"PK\x03\x04"):
        return Kind(_zipped(data))
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        return Kind(_ole(data))
    if data.startswith(b"{\\rtf"):
        return Kind("application/rtf")
    # "BM" alone may begin a text.
    if data.startswith(_PICTURES) or data[8:12] == b"WEBP" or (data[:2] == b"BM" and data[6:10] == bytes(4)):
        raise Picture("it is a picture")
    found = _decoded(data)
    notes = [] if found.is_sure else [f"its encoding is not certain: it was read as {found.encoding}"]
    if damaged := _damaged(data, found):
        notes.append(f"it is partly unreadable: what is not {found.encoding} was read as {_DAMAGED}, {_times(damaged)}")
    return Kind(_text_kind(found.text, name.rpartition(".")[2].lower()), found.text, found.encoding, tuple(notes))


def _zipped(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {member.filename: member for member in archive.infolist()}
            declared = members.get("mimetype")
            named = archive.read(declared).decode("ascii", "replace") if declared and declared.file_size < 100 else ""
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, ValueError) as error:
        raise Unreadable("it is damaged: it begins like a zip archive and cannot be opened") from error
    if sum(member.file_size for member in members.values()) > MAX_UNPACKED_BYTES:
        raise Unreadable(f"it unpacks to more than {MAX_UNPACKED_BYTES // 1024 // 1024} MB")
    found = next((kind for part, kind in _ZIPPED.items() if part in members), named.strip())
    if found not in _DECLARED and found not in _ZIPPED.values():
        raise Unreadable("it is an archive; unpack it to have its files read")
    return found


def _ole(data: bytes) -> str:
    for stream, kind in _OLE.items():
        if stream.encode("utf-16-le") in data:
            return kind
    if "EncryptedPackage".encode("utf-16-le") in data:
        raise Unreadable("it is encrypted; save a copy without a password")
    raise Unreadable("it is not a kind of document that can be read")


def _decoded(data: bytes) -> Decoded:
    """Return the text, and its encoding. Raises `Unreadable` for bytes that are not text in any."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return Decoded(data.decode(encoding, "replace"), encoding)
    if b"\0" not in data and b"\x1b$B" not in data:
        try:
            return Decoded(data.decode(), "utf-8")
        except UnicodeDecodeError:
            if nearly := _nearly_utf8(data):
                return nearly
    elif b"\0" in data and not _may_be_wide(data):
        raise Unreadable("it is not a kind of document that can be read")
    found = decoded(data)
    if found is None:
        raise Unreadable("it is not text in any known encoding")
    return found


def _nearly_utf8(data: bytes) -> Decoded | None:
    """Return a text of UTF-8 with a few bad bytes, or cut within a letter; None if it is more likely something else."""
    found = Decoded(data.decode(errors="replace"), "utf-8")
    bad = _damaged(data, found) + len(data) - len(data.translate(None, _CONTROLS))
    whole = len(found.text) - len(found.text.encode("ascii", "ignore")) - found.text.count(_DAMAGED)
    is_likely = whole >= _WHOLE * bad or bad <= whole == len(_IN_WORD.findall(found.text))
    return found if is_likely else None


def _damaged(data: bytes, found: Decoded) -> int:
    """Return how often bytes were replaced that are not in the encoding of this text."""
    try:
        data.decode(found.encoding)
    except UnicodeDecodeError:
        return max(1, found.text.count(_DAMAGED) - data.count(_DAMAGED.encode()))
    return 0


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _may_be_wide(data: bytes) -> bool:
    """Tell whether a file with NUL bytes may be UTF-16 without a mark: then every other byte is 0, nearly."""
    head = data[:_MAGIC]
    return max(head[0::2].count(0), head[1::2].count(0)) > 0.3 * len(head) and not _has_controls(head)


def _has_controls(head: bytes) -> bool:
    return any(byte < 9 for byte in head.replace(b"\0", b""))


def _text_kind(text: str, ending: str) -> str:
    if _HTML.match(text[:8192]) or (ending in ("html", "htm", "xhtml") and "<" in text[:8192]):
        return "text/html"
    if _is_mail(text, ending):
        return "message/rfc822"
    if ending in ("csv", "tsv", "tab") or _is_delimited(text):
        return "text/csv"
    if text[:1] == "{" and '"nbformat"' in text and _is_notebook(text):
        return "application/x-ipynb+json"
    return "text/markdown"


def _is_mail(text: str, ending: str) -> bool:
    """Tell whether it begins with the headers of a mail: only headers up to the first blank line, two of them known."""
    head = text[:65536].lstrip("\r\n").replace("\r\n", "\n").partition("\n\n")[0]
    lines = head.splitlines()
    if not lines or not all(_HEADER.match(line) for line in lines[:50]):
        return False
    found = email.parser.Parser(policy=email.policy.compat32).parsestr(head, headersonly=True)
    known = {name.lower() for name in found} & _MAIL_HEADERS
    return len(known) >= (1 if ending == "eml" else 3)


def _is_delimited(text: str) -> bool:
    """Tell whether the first lines have the same number of cells, between tabs, semicolons or commas without spaces."""
    lines = text[:_JUDGED].splitlines()
    whole = lines if len(text) <= _JUDGED else lines[:-1]
    lines = [line for line in whole if line.strip()][:_MOST_LINES]
    for mark, fewest in (("\t", 2), (";", 3), (",", 3)):
        found = {len(row) for row in csv.reader(lines, delimiter=mark)}
        if len(lines) >= _FEWEST_LINES and len(found) == 1 and min(found) >= fewest:
            return mark == "\t" or f"{mark} " not in "".join(lines)
    return False


def _is_notebook(text: str) -> bool:
    try:
        found: object = json.loads(text)
    except ValueError:
        return False
    return isinstance(found, dict) and isinstance(cast("dict[str, object]", found).get("cells"), list)
