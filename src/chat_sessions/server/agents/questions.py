"""What a prompt asks about, with what it takes from the prompts before it ("and in 2024?")."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chat_sessions.server.documents.words import QUESTION_WORDS, terms, terms_and_words

__all__ = ["SHAPE", "Question", "period", "question_from", "readings_of"]

_CARRIED, _ASIDE = 0.5, 0.3
SHAPE = 0.25
"""The weight of a term that only shapes the question."""

_CONTINUES = re.compile(
    r"\s*(?:and|or|but|also|then|ok(?:ay)?,?\s+and|what about|how about|same (?:for|question)|what of)\b", re.IGNORECASE
)
_POINTS_BACK = re.compile(
    r"\b(?:it|its|they|them|their|theirs|those|these|he|she|his|her)\b|"
    r"\b(?:that|this)\s*(?:[?.!]|\Z)|\b(?:is|was|did|does) (?:that|this)\b",
    re.IGNORECASE,
)
_POSSESSIVE = re.compile(r"\b(?:its|their|his|her)\b", re.IGNORECASE)
_VERB = "is|are|was|were|do|does|did|has|have|had|can|could|may|must|should|will"
_CLAUSE = re.compile(rf"[\s,]*(?:(?:what|which|who|how|when|where|why)\b.*\b(?:{_VERB})|{_VERB})\b", re.IGNORECASE)
_PREPOSITION = re.compile(r"[\s,]*(?:in|for|at|on|of|from|by|with|to|since|under|until|after|before)\b", re.IGNORECASE)
_MONTHS = frozenset(
    term
    for name in "January February March April June July August September October November December".split()  # noqa: SIM905
    for term in terms(name)
)
_NUMBER = re.compile(
    r"\b(?:how (?:many|much|long|often|far|old|big|large|high|heavy|fast)|what (?:percentage|share|number|rate)|"
    r"when|which year|number of|amount|total|cost|price)\b",
    re.IGNORECASE,
)
_COUNT = re.compile(r"\b(?:how many|number of)\b", re.IGNORECASE)
_COUNT_OR_AMOUNT = re.compile(r"\bhow (?:many|much)\b", re.IGNORECASE)
_PAGE = re.compile(r"\b(?:(?:on|of|from|at|in)\s+)?(?:the\s+)?page\s+(?:no\.?\s*|number\s+)?(\d{1,4})\b", re.IGNORECASE)
_CAUSE = re.compile(r"\b(?:why|what caused|reasons?|because of what|how come)\b", re.IGNORECASE)
_DEFINITION = re.compile(r"\s*what(?:'s| is| are) (?:(?:the|an?) )?[\w-]+\s*\?*\s*\Z", re.IGNORECASE)
_OVERVIEW = re.compile(
    r"\bwhat\b.*\babout\s*\??\s*\Z|\b(?:summari[sz]e|summary|overview|describe|introduce|outline)\b", re.IGNORECASE
)
_MOST = re.compile(r"\b(?:most|highest|largest|biggest|greatest|maximum|longest|heaviest|top)\b", re.IGNORECASE)
_LEAST = re.compile(r"\b(?:least|lowest|smallest|fewest|minimum|shortest|lightest)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt prepared for retrieval.

    `weights` is how much each term counts, apart from its rarity: 1 for a term of the prompt, less for one carried over
    from an earlier prompt or one that only shapes the question. `words` has each as the user wrote it. `query` is the
    text to search for. `extreme` is +1 if the most of something is asked for, -1 for the least. `page` is the one page
    that it is about ("on page 3"), if it names one. `about_answer` tells that it is only about the previous answer.
    `periods` are those that a follow-up newly names: an answer without them would answer the previous question.
    `wants_overview` is for "what is this report about?", which has no subject.
    """

    prompt: str
    query: str
    weights: dict[str, float]
    words: dict[str, str]
    wants_number: bool
    wants_count: bool
    wants_cause: bool
    extreme: int
    page: int | None
    about_answer: bool
    periods: frozenset[str]
    wants_definition: bool
    wants_overview: bool

    @property
    def subject(self) -> list[str]:
        """The terms of the prompt itself that an answer must be about."""
        return [term for term, weight in self.weights.items() if weight == 1]


def question_from(prompt: str, earlier: Sequence[str] = (), last_answer: str = "") -> Question:
    """Return the question in `prompt`, the latest in a session with the given `earlier` prompts.

    A prompt that begins like a continuation, or refers back with a pronoun and says little else, keeps the terms of the
    question before it, unless it names another year, quarter or month. A second pronoun means the same as the first:
    "its price?" after "how long is its warranty?" is not about a warranty. A prompt that says nothing by itself
    ("why?") also uses the `last_answer`.
    """
    referent: tuple[dict[str, float], dict[str, str]] = {}, {}
    periods: frozenset[str] = frozenset()
    weights: dict[str, float] = {}
    words: dict[str, str] = {}
    query = prompt
    page = _PAGE.search(prompt)
    for whole in (*earlier, prompt):
        text = _PAGE.sub(" ", whole)
        own_words = dict(terms_and_words(text))
        own = {term: SHAPE if term in QUESTION_WORDS else 1.0 for term in own_words}
        subject = [term for term in own if own[term] == 1]
        continues = _CONTINUES.match(text) or (_POINTS_BACK.search(text) and len(subject) <= 2)
        periods_only = all(map(period, subject))
        opens_page = text != whole and not own and not continues
        if not weights or not (continues or periods_only) or opens_page or _is_overview(text, own):
            weights, words, query = own, own_words, text
            referent, periods = (weights, words), frozenset()
            continue
        periods = frozenset(filter(period, subject))
        replaced = {period(term) for term in subject} - {""}
        points_back = bool(_POINTS_BACK.search(text))
        if points_back and subject and not periods_only:
            weights, words = referent
        # "And in 2024?" repeats the question; "and the operating profit?" is mostly a new one.
        share = 1.0 if periods_only else _CARRIED if points_back else _ASIDE
        kept = {
            term: weight * (max(share, _CARRIED) if period(term) else share)
            for term, weight in weights.items()
            if term not in own and period(term) not in replaced
        }
        weights = kept | own
        words = {term: words[term] for term in kept} | own_words
        query = " ".join([text, *(words[term] for term in kept)])
        if not points_back:
            referent = weights, words
    about_answer = bool(earlier) and not page and not _COUNT_OR_AMOUNT.search(prompt) and not terms(prompt)
    if about_answer:
        # "Why?" asks about the answer rather than about the previous question.
        for term, word in terms_and_words(last_answer):
            if term not in QUESTION_WORDS and word.isalpha():
                weights.setdefault(term, _ASIDE)
                words.setdefault(term, word)
    return Question(
        prompt,
        query,
        weights,
        words,
        wants_number=bool(_NUMBER.search(prompt)),
        wants_count=bool(_COUNT.search(prompt)),
        wants_cause=bool(_CAUSE.search(prompt)),
        page=int(page[1]) if page else None,
        about_answer=about_answer,
        periods=periods,
        wants_definition=bool(_DEFINITION.match(prompt)),
        wants_overview=_is_overview(prompt, weights),
        extreme=1 if _MOST.search(prompt) else -1 if _LEAST.search(prompt) else 0,
    )


def _is_overview(text: str, weights: Mapping[str, float]) -> bool:
    return bool(weights) and max(weights.values()) < 1 and bool(_OVERVIEW.search(text))


def readings_of(prompt: str, earlier: Sequence[str], last_answer: str) -> list[Question]:
    """Return what `prompt` may mean after the `earlier` ones, likeliest first. The first that is answered counts.

    A follow-up that is a complete question ("and how much is a rye roll?") is first read by itself, then as a part of
    the conversation; one that is not ("and the operating profit?") the other way round. "And in Velmora?" and "when is
    it paid?" mean nothing by themselves.
    """
    together = question_from(prompt, earlier, last_answer)
    alone = question_from(prompt)
    if together.weights == alone.weights or all(map(period, alone.subject)):
        return [together]
    opening = _CONTINUES.match(prompt)
    rest = prompt[opening.end() :] if opening else prompt
    if _POINTS_BACK.search(prompt):
        return [together, alone] if _POSSESSIVE.search(prompt) else [together]
    if not _CLAUSE.match(rest):
        return [together] if _PREPOSITION.match(rest) else [together, alone]
    since = [together.words[term] for term in together.weights if period(term) and term not in alone.weights]
    # "And what was the profit?" after a question about a quarter means that quarter.
    in_period = [question_from(" ".join([prompt, *since]))] if since else []
    return [*in_period, alone, together]


def period(term: str) -> str:
    """Return the kind of period that a term names, "" if none. A later one replaces an earlier one of its kind."""
    if re.fullmatch(r"(?:19|20)\d\d", term):
        return "year"
    if re.fullmatch(r"q[1-4]|fy", term):
        return "quarter"
    return "month" if term in _MONTHS else ""
