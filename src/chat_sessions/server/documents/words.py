"""The words that retrieval compares: in lower case, stemmed, with synonyms merged.

Text and question pass through the same `terms`, so it only matters that two forms of a word become the same, not that
the result is a word. For English; other languages still match by exact word.
"""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["QUESTION_WORDS", "count_words", "terms", "terms_and_words"]

_WORD = re.compile(r"\d+(?:[.,]\d+)*(?![\w-])|[^\W_]+(?:[-'\u2019][^\W_]+)*")
_QUARTER = re.compile(r"\b(first|second|third|fourth|1st|2nd|3rd|4th) quarter\b", re.IGNORECASE)
_FULL_YEAR = re.compile(r"\b(?:(?:full|whole|entire) year|year as a whole)\b", re.IGNORECASE)
_QUARTERS = {"first": "Q1", "second": "Q2", "third": "Q3", "fourth": "Q4"} | {
    "1st": "Q1",
    "2nd": "Q2",
    "3rd": "Q3",
    "4th": "Q4",
}

_STOP_WORDS = frozenset(
    """a about after all also am an and any are as at be because been before being between both but by can could
    did do does doing done during each either for from had has have having he her his how i if in into is it its
    itself just many me might more most much must my no nor not of off on once one ones only or other our out over
    own per shall she should so some such than that the their them then there these they this those through to too
    under until us very was we were what when where which while who whom whose why will with would you your""".split()  # noqa: SIM905 (words read best as words)
)

_IRREGULAR = {
    "began": "begin",
    "bought": "buy",
    "came": "come",
    "fell": "fall",
    "findings": "conclusion",
    "fallen": "fall",
    "gave": "give",
    "got": "get",
    "grew": "grow",
    "grown": "grow",
    "held": "hold",
    "kept": "keep",
    "led": "lead",
    "lost": "lose",
    "made": "make",
    "paid": "pay",
    "ran": "run",
    "risen": "rise",
    "rose": "rise",
    "said": "say",
    "saw": "see",
    "sent": "send",
    "sold": "sell",
    "spent": "spend",
    "told": "tell",
    "took": "take",
    "went": "go",
}

_SYNONYMS = (
    "accident injury",
    "accuracy accurate precise precision",
    "begin start",
    "biggest largest highest greatest",
    "buy purchase procure",
    "client customer",
    "co2 carbon",
    "conclusion takeaway",
    "cost price expense charge fee",
    "email mail",
    "employee staff headcount people personnel workforce worker",
    "fall decrease decline drop reduce reduction shrink",
    "fly flight plane",
    "grow growth rise increase gain",
    "holiday vacation",
    "home remote remotely",
    "hotel accommodation lodging",
    "illness ill sick sickness",
    "keep retain store storage retention",
    "meal food lunch dinner",
    "phone telephone",
    "repair fix",
    "revenue sale",
    "smallest lowest fewest",
    "supplier vendor",
    "vehicle car",
    "warranty guarantee",
    "wedding marriage marry",
    "weight weigh",
)


def terms(text: str) -> list[str]:
    """Return the terms of `text` in order, with repetitions and without stop words."""
    return [term for term, _ in terms_and_words(text)]


def terms_and_words(text: str) -> list[tuple[str, str]]:
    """Return the terms of `text`, each with the word of the text that it comes from."""
    text = _FULL_YEAR.sub("FY", _QUARTER.sub(lambda match: _QUARTERS[match[1].lower()], text))
    pairs = [pair for written in _WORD.findall(text) for pair in _terms_of(written)]
    return [(term, "full year" if term == "fy" else word) for term, word in pairs]


def count_words(text: str) -> int:
    """Count the words and numbers in `text`, which the local agent reports as tokens."""
    return sum(1 for _ in _WORD.finditer(text))


# Texts repeat most of their words.
@lru_cache(maxsize=65536)
def _terms_of(written: str) -> tuple[tuple[str, str], ...]:
    """Return the terms of one word, each with the word, or the part of it, that it comes from."""
    word = written.lower().replace("\u2019", "'").removesuffix("'s")
    if word in _STOP_WORDS:
        return ()
    if word.replace(",", "").replace(".", "").isdigit():
        return ((word.replace(",", ""), written),)
    if any(character.isdigit() for character in word) or word[1:2] == "-":
        # RG-4, RG4 and rg-4 are one name; so are e-mail and email.
        return ((_term(word.replace("-", "")), written),)
    parts = [part for part in word.split("-") if part not in _STOP_WORDS]
    return tuple((_term(part), part if "-" in word else written) for part in parts)


def _stem(word: str) -> str:
    """Strip a word's inflection. This is a light stemmer, since bm25s has none."""
    if len(word) <= 3 or not word.isalpha():
        return word
    if word.endswith("ies"):
        word = word[:-3] + "y"
    elif word.endswith(("sses", "shes", "ches", "xes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for suffix in ("ment", "ing", "ed", "ion"):
        rest = word.removesuffix(suffix)
        if rest != word and len(rest) >= 3 and re.search("[aeiouy]", rest) and (suffix != "ion" or rest[-1] in "ts"):
            word = rest
            if word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    return word.removesuffix("e") if len(word) > 3 else word


_CANONICAL = {_stem(word): _stem(group.split()[0]) for group in _SYNONYMS for word in group.split()}


def _term(word: str) -> str:
    stem = _stem(_IRREGULAR.get(word, word))
    return _CANONICAL.get(stem, stem)


QUESTION_WORDS = frozenset(
    _term(word)
    for word in """according amount answer apply available begin big biggest bring come company count describe
    develop document end exist explain far fast fewest figure file find get give go greatest happen high highest
    important information key know large largest least level list long longest look lowest main maximum
    mean mention minimum name need number offer often old percent percentage please report run say see shortest
    show smallest spend start state summarise summarize take tell thing think total use value want way work
    year""".split()  # noqa: SIM905
)
"""Terms that shape a question rather than say what it is about: they may match, but need not."""
