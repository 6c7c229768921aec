"""The terms that retrieval compares: words in lower case, stemmed in the language of their text.

Text and question pass through the same steps, so it only matters that two forms of a word become the same term.
Scripts that are written without spaces are taken apart into pairs of characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import Stemmer  # type: ignore[import-not-found]
from anyascii import anyascii
from bm25s import stopwords  # type: ignore[import-untyped]

__all__ = [
    "KNOWN_LANGUAGES",
    "folded",
    "function_words",
    "is_unspaced",
    "language_asked_in",
    "language_written",
    "terms",
    "word_terms",
    "words",
]

_STEMMERS = {
    "ara": "arabic", "cat": "catalan", "ces": "czech", "dan": "danish", "deu": "german", "ell": "greek",
    "eng": "english", "est": "estonian", "eus": "basque", "fin": "finnish", "fra": "french", "hin": "hindi",
    "hun": "hungarian", "hye": "armenian", "ind": "indonesian", "ita": "italian", "lit": "lithuanian",
    "nep": "nepali", "nld": "dutch", "nob": "norwegian", "pol": "polish", "por": "portuguese", "ron": "romanian",
    "rus": "russian", "spa": "spanish", "srp": "serbian", "swe": "swedish", "tam": "tamil", "tur": "turkish",
}  # fmt: skip
# Neither library has type information.
_library: Any = Stemmer
_stopwords: Any = stopwords
_FUNCTION_WORDS: dict[str, tuple[str, ...]] = {
    "dan": _stopwords.STOPWORDS_DANISH,
    "deu": _stopwords.STOPWORDS_GERMAN,
    "eng": _stopwords.STOPWORDS_EN_PLUS,
    "fra": _stopwords.STOPWORDS_FRENCH,
    "ita": _stopwords.STOPWORDS_ITALIAN,
    "nld": _stopwords.STOPWORDS_DUTCH,
    "nob": _stopwords.STOPWORDS_NORWEGIAN,
    "por": _stopwords.STOPWORDS_PORTUGUESE,
    "rus": _stopwords.STOPWORDS_RUSSIAN,
    "spa": _stopwords.STOPWORDS_SPANISH,
    "swe": _stopwords.STOPWORDS_SWEDISH,
    "tur": _stopwords.STOPWORDS_TURKISH,
}

KNOWN_LANGUAGES = tuple(_FUNCTION_WORDS)
"""The languages whose function words are known, as codes of ISO 639-3."""

# Han, Kana, Hangul, and the scripts of South East Asia that have no spaces between words.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007"
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
)
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_RUN = re.compile(
    rf"(?P<unspaced>[{_UNSPACED}\U00020000-\U0003ffff]+)"
    r"|(?P<number>\d+(?:[.,'\u2019\u202f]\d+)*(?![\w-]))"
    rf"|(?P<word>(?:(?![{_UNSPACED}])[^\W_])+(?:['\u2019.&-](?:(?![{_UNSPACED}])[^\W_])+)*)"
)
# Of two kinds of separators, the second precedes the cents; a single kind does so if no group of three follows it.
_AMOUNT = re.compile(
    r"(?P<whole>[1-9]\d{0,2}(?P<mark>['\u2019.,])\d{3}(?:(?P=mark)\d{3})*|\d+)(?:(?!(?P=mark))[.,](?P<cents>\d+))?"
)
_SEPARATORS = re.compile(r"['\u2019.,&\u202f-]")


def words(text: str) -> Iterator[str]:
    """Yield the words of a text as they are written, pairs of characters for scripts without spaces."""
    for run in _RUN.finditer(unicodedata.normalize("NFKC", text)):
        if run["unspaced"] is not None:
            yield from _pairs(run[0])
        else:
            yield run[0]


def is_unspaced(word: str) -> bool:
    """Tell whether a word is of a script without spaces, and so a pair of characters, or one."""
    return _IS_UNSPACED.match(word) is not None


def terms(text: str, language: str) -> list[str]:
    """Return the terms of a text in order.

    `language` is a code of ISO 639-3, or several with a `+` between them; one without a stemmer leaves words whole.
    """
    return [term for word in words(text) for term in word_terms(word, language)]


# Texts repeat most of their words.
@lru_cache(maxsize=65536)
def word_terms(word: str, language: str) -> tuple[str, ...]:
    """Return the terms of one word. RG-4, RG4 and rg-4 share one; so do a word and its parts, and 9888 and 9,888.00."""
    word = word.casefold().removesuffix("'s").removesuffix("\u2019s")
    if amount := _AMOUNT.fullmatch(word):
        return _amounts(_SEPARATORS.sub("", amount["whole"]), amount["cents"] or "")
    joined = _SEPARATORS.sub("", word)
    parts = [joined]
    if joined != word and not joined.isdigit():
        parts = [part for part in _SEPARATORS.split(word) if len(part) > 1 or part.isdigit()] + parts
    return tuple(dict.fromkeys(term for part in parts for one in language.split("+") for term in _terms(part, one)))


def folded(word: str) -> str:
    """Return a word in lower case without the marks of Latin letters, also of those that no mark can be taken off."""
    word = word.casefold()
    return word if word.isascii() else "".join(map(_letter, word)).lower()


def function_words(asked: Iterable[str], language: str) -> frozenset[str]:
    """Return those of the words, in lower case, that say nothing by themselves in a language, such as "the"."""
    known = _list(language)
    return frozenset(word for word in map(str.casefold, asked) if _says_nothing(word, known))


def language_asked_in(asked: Iterable[str], languages: Iterable[str]) -> str:
    """Return the language in which most of the words are function words, the first of two that have as many.

    "die" is an article in a German question, and a verb in an English one.
    """
    asked = list(asked)
    return max(languages, key=lambda language: len(function_words(asked, language)))


def language_written(text: str) -> str:
    """Return the language of a text, judged by its letters as they follow each other, "eng" if they tell nothing."""
    from kreuzberg import ExtractionConfig, LanguageDetectionConfig, extract_bytes_sync

    detection = LanguageDetectionConfig(enabled=True, min_confidence=0.0)
    config = ExtractionConfig(use_cache=False, language_detection=detection)
    found = extract_bytes_sync(text.encode("utf-8", "replace"), "text/plain", config=config).detected_languages
    return found[0] if found else "eng"


def _says_nothing(word: str, known: frozenset[str]) -> bool:
    if word in known:
        return True
    # French writes "d'une" as one word.
    before, apostrophe, after = word.replace("\u2019", "'").partition("'")
    return bool(apostrophe) and after in known and (len(before) == 1 or before in known)


@lru_cache(maxsize=64)
def _list(language: str) -> frozenset[str]:
    return frozenset(_FUNCTION_WORDS.get(language, ()))


def _pairs(run: str) -> Iterator[str]:
    if len(run) == 1:
        yield run
    for at in range(len(run) - 1):
        yield run[at : at + 2]


def _amounts(whole: str, cents: str) -> tuple[str, ...]:
    # Section 3.10 is not 3.1, so a number is kept as it is written, too.
    written, value = (f"{whole}.{part}" if part else whole for part in (cents, cents.rstrip("0")))
    return tuple(dict.fromkeys((value, written)))


def _terms(word: str, language: str) -> Iterator[str]:
    stemmer = _stemmer(language)
    if stemmer is None or word.isdigit():
        yield _without_marks(word)
        return
    # Whoever asks may leave accents out, also where a stemmer needs them: it finds no plural in "salaries".
    yield _without_marks(stemmer.stemWord(folded(word)))
    yield _without_marks(stemmer.stemWord(word))


def _without_marks(stem: str) -> str:
    stem = folded(stem)
    if stem.isascii() or _IS_UNSPACED.match(stem):
        return stem
    return "".join(mark for mark in unicodedata.normalize("NFKD", stem) if not unicodedata.combining(mark)) or stem


@lru_cache(maxsize=4096)
def _letter(letter: str) -> str:
    script = unicodedata.name(letter, "").partition(" ")[0]
    return anyascii(letter) if script == "LATIN" else "" if script == "COMBINING" else letter


@lru_cache(maxsize=64)
def _stemmer(language: str) -> Any:
    name = _STEMMERS.get(language)
    # The stemmer's own cache would be a second one.
    return _library.Stemmer(name, 0) if name else None
