"""The encoding of a text that does not say which one it is in.

charset-normalizer identifies the script. Among the encodings of one script, the right one shows in what each makes of a
short text: letters within words, in the case of their neighbours, and a language that is written with the encoding.
"""

from __future__ import annotations

import contextlib
import re
import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from charset_normalizer import from_bytes

from chat_sessions.server.documents.reading.terms import language_written

__all__ = ["Decoded", "decoded"]

# For each script and region, its encodings on Windows, Unix, DOS and the Mac, the most common first, and the languages
# (ISO 639-3) that are written with them.
_FAMILIES = (
    (
        ("cp1252", "iso8859_15", "cp850", "mac_roman", "cp437", "cp865", "cp860"),
        "afr cat dan deu eng epo eus fin fra glg ind isl ita jav nld nno nob por spa swe tgl",
    ),
    (("cp1250", "iso8859_2", "cp852", "mac_latin2"), "bos ces hrv hun pol ron slk slv sqi srp tuk"),
    (("cp1254", "cp857", "mac_turkish"), "aze kur tur uzb"),
    (("cp1257", "cp775"), "est lav lit"),
    (("cp1251", "koi8_r", "cp866", "iso8859_5", "mac_cyrillic", "koi8_u"), "bel bul kaz mkd rus srp ukr"),
    (("cp1253", "iso8859_7", "cp737", "mac_greek"), "ell"),
)
# The first families are of Latin letters.
_LATIN = 4
_LANGUAGES = {encoding: languages.split() for encodings, languages in _FAMILIES for encoding in encodings}
_WRITTEN_IN_LATIN = {"latin_1", *(encoding for encodings, _ in _FAMILIES[:_LATIN] for encoding in encodings)}
# charset-normalizer compares these; among more, a rare one often fits a short text better than its own.
_COMPARED = (
    *("utf_16_le", "utf_16_be", "cp1252", "latin_1", "iso8859_15", "cp1250", "iso8859_2", "cp1251", "koi8_r", "cp866"),
    *("cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp874"),
    *("cp932", "euc_jp", "iso2022_jp", "gb18030", "big5", "cp949"),
)
_JUDGED = 16_384
_ASCII = 127
_NOT_ASCII = re.compile(rb"[\x80-\xff]+")
_ASCII_LETTERS = [letter.encode() for letter in string.ascii_letters]
# A language that is not written with an encoding counts as much as this share of the letters that tell encodings apart.
_FOREIGN = 0.1
# With fewer letters than these, a language counts less.
_TELLING = 60
# The penalty for any region but the first; doubled for all but a region's two most common encodings.
_RARER = 0.4
# With more letters than this to one that is not ASCII, a text may be Latin.
_FEWEST_LETTERS = 1 / 3
_FEW = 12
# If a multi-byte text is read in a single-byte encoding, more than this share of its non-ASCII bytes makes no sense.
_SENSELESS = 0.2
# Classes of characters: `a` and `A` are ASCII letters, `l` and `L` other Latin ones, `c` `C` and `g` `G` Cyrillic and
# Greek, `r` those of other scripts, `q` what may be in a word, `p` at its end or beginning, `o` at its beginning, `t`
# at its end, `s` signs that stand alone, and `x` what no text has.
_CLASSES = {
    **dict.fromkeys("'\u2019\u2018\xb4\xb7\xad-\u2010\u2011\u2013\u2014\u2026/", "q"),
    **dict.fromkeys("\xaa\xba\xb9\xb2\xb3\xb0\xb5\u201c\u201d\xab\xbb\u2039\u203a", "p"),
    **dict.fromkeys("\xae\xa9\u2122", "t"),
    **dict.fromkeys("\u201e\u201a\xa1\xbf", "o"),
    **dict.fromkeys("\xa4\xa8\xaf\xb8", "x"),
    **dict.fromkeys("\u0192\u2022", "s"),
}
_LETTERS = "aAlLcCgGr"
_ODD = re.compile(
    rf"x|(?<=[{_LETTERS}])[os]|[st](?=[{_LETTERS}])|(?<=[{_LETTERS}])p(?=[{_LETTERS}])"
    # A word without ASCII, a capital inside one, and two scripts in one.
    r"|(?<=[lL]{4})[lL]|(?<=[al])L|(?<=l)A|(?<=c)C|(?<=g)G"
    r"|(?<=[aAlL])[cCgGr]|(?<=[cC])[aAlLgGr]|(?<=[gG])[aAlLcCr]|(?<=r)[aAlLcCgG]"
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text, its encoding, and whether there is little doubt about that."""

    text: str
    encoding: str
    is_sure: bool = True


def decoded(data: bytes) -> Decoded | None:
    """Return a text that has no mark and is not UTF-8; None for bytes that are not text in any encoding."""
    if b"\x1b$B" in data:
        return Decoded(data.decode("iso2022_jp", "replace"), "iso2022_jp")
    sample = _sample(data)
    # A declaration such as `charset=` counts.
    guess = from_bytes(sample, cp_isolation=list(_COMPARED)).best()
    named = guess.encoding if guess else ""
    letters, telling = sum(map(sample.count, _ASCII_LETTERS)), sum(byte > _ASCII for byte in sample)
    if b"\0" not in sample and letters >= _FEWEST_LETTERS * telling:
        found = _likeliest(sample, _FAMILIES[:_LATIN], rest=_NOT_ASCII.sub(b"", sample))
        if found and not _is_other_script(sample, named, found, telling):
            return _as(data, found)
    if named and named not in _LANGUAGES:
        return Decoded(data.decode(named, "replace"), named)
    found = _likeliest(sample, _FAMILIES[_LATIN:], first=named)
    return _as(data, found) if found and (named or found.is_sure) else None


@dataclass(frozen=True, slots=True)
class _Likely:
    encoding: str
    oddities: int
    is_sure: bool


def _likeliest(
    sample: bytes, families: Sequence[tuple[Sequence[str], str]], *, first: str = "", rest: bytes = b""
) -> _Likely | None:
    """Return the encoding that makes the most sense, the first of two alike; None if none makes any.

    `rest` is the sample without what encodings disagree on.
    """
    telling = sum(byte > _ASCII for byte in sample)
    ranks = {
        encoding: max(at > 0, 2 * (number > 1))
        for at, (known, _) in enumerate(families)
        for number, encoding in enumerate(known)
    }
    if first in ranks:
        ranks = {first: 0} | {encoding: rank for encoding, rank in ranks.items() if encoding != first}
    texts: dict[str, str] = {}
    for encoding in ranks:
        with contextlib.suppress(UnicodeDecodeError):
            texts[encoding] = sample.decode(encoding)
    odd = {encoding: _oddities(text) for encoding, text in texts.items()}
    least = min(odd.values())
    if least > max(1, _SENSELESS * telling):
        return None
    # A few letters tell no language.
    letters = telling + len(rest) if rest else len(sample)
    foreign = max(1.0, _FOREIGN * telling) * min(1.0, letters / _TELLING) ** 2
    # Wrong letters can look like another language; most words show theirs without them, too.
    spoken = language_written(rest.decode()) if rest else ""
    scores: dict[str, float] = {}
    unfit: dict[str, int] = {}
    for encoding, text in texts.items():
        if odd[encoding] <= least + foreign + 1:
            known = _LANGUAGES[encoding]
            unfit[encoding] = (language_written(text) not in known) + bool(spoken and spoken not in known)
            scores[encoding] = odd[encoding] + foreign * unfit[encoding] + _RARER * ranks[encoding]
    best = min(scores, key=lambda encoding: scores[encoding])
    return _Likely(best, odd[best], odd[best] <= _FOREIGN * telling and unfit[best] <= bool(spoken))


def _is_other_script(sample: bytes, named: str, found: _Likely, telling: int) -> bool:
    """Tell whether an encoding that is not Latin makes sense, given the likeliest Latin one.

    A few signs in a short text make sense in many.
    """
    if not named or named in _WRITTEN_IN_LATIN or (telling <= _FEW and not found.oddities):
        return False
    return _oddities(sample.decode(named, "replace")) <= _FOREIGN * telling


def _oddities(text: str) -> int:
    return sum(1 for _ in _ODD.finditer("".join(map(_class, text))))


@lru_cache(maxsize=4096)
def _class(character: str) -> str:
    """Return what a character is, as the pattern of oddities names it."""
    known = _CLASSES.get(character)
    if known:
        return known
    if character.isascii():
        if not character.isprintable():
            return " " if character.isspace() else "x"
        return ("A" if character.isupper() else "a") if character.isalpha() else "."
    category = unicodedata.category(character)
    if category[0] == "L" and category != "Lm":
        script = unicodedata.name(character, "").partition(" ")[0]
        letter = {"LATIN": "l", "CYRILLIC": "c", "GREEK": "g"}.get(script, "r")
        return letter.upper() if category == "Lu" and letter != "r" else letter
    if category in ("Sc", "Po", "Pd", "Ps", "Pe", "No"):
        return "s"
    return "." if category in ("Zs", "Mn") else "s" if character == "\xa7" else "x"


def _as(data: bytes, found: _Likely) -> Decoded:
    return Decoded(data.decode(found.encoding, "replace"), found.encoding, found.is_sure)


def _sample(data: bytes) -> bytes:
    """Return up to 16 KB from the file, mostly of what is not ASCII, since only that tells encodings apart."""
    if len(data) <= _JUDGED:
        return data
    first = next((at for at, byte in enumerate(data) if byte > _ASCII), 0)
    start = max(0, min(first - 1024, len(data) - _JUDGED)) & ~3
    return data[start : start + _JUDGED]
