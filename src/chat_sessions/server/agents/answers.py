"""Answers made of what the documents say: the sentences and table rows that fit a question best.

No model is involved. A statement's score is how much of the question it covers, where rare words count most. Below a
threshold there is no answer. So an answer can miss something, but cannot invent anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from chat_sessions.server.agents.questions import SHAPE, Question, period
from chat_sessions.server.documents.indexes import Hit
from chat_sessions.server.documents.pages import Document, Page, Table
from chat_sessions.server.documents.passages import Statement, statements_of
from chat_sessions.server.documents.words import QUESTION_WORDS, terms

__all__ = ["Answer", "answer"]

_COVERAGE = 0.55
# "Why?" is weighted with all the words of the answer before it, and need not cover as many.
_COVERAGE_BY_ANSWER = 0.4
_IN_HEADER, _NEAR, _AROUND = 0.95, 0.75, 0.45
_ALMOST_AS_GOOD = 0.94
_SENTENCES = 3
_TABLE_ROWS = 12
_LONGEST = 4000
_REACH = 30

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_CAUSE = re.compile(r"\b(?:because|cause[ds]?|reason|due to|driven|findings)\b", re.IGNORECASE)
_GOES_ON = re.compile(r"(?:It|Its|They|Their)\b")
_ENUMERATES = re.compile(r"(?:First|Second|Third|Fourth|Finally|Last)(?:ly)?\b|\(?\d[.)]\s")
_TOTAL = re.compile(r"(?:total|all|sum|average|mean)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Answer:
    """Text from a document, and the page that it is on."""

    text: str
    document: Document
    page: Page

    @property
    def citation(self) -> str:
        """Where it is, as a reader would look it up: `[report.pdf, page 3]`."""
        if self.page.number is not None:
            return f"[{self.document.name}, page {self.page.number}]"
        return f"[{self.document.name}, {self.page.section}]" if self.page.section else f"[{self.document.name}]"


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    document: Document
    page: Page
    statement: Statement
    covered: float
    score: float


def answer(question: Question, hits: Sequence[Hit], rarity: Callable[[str], float]) -> Answer | None:
    """Return the best answer from the pages of `hits`, or None if they do not answer the question.

    `rarity` tells how much a term counts, like `Index.rarity`.
    """
    weights = {term: weight * rarity(term) for term, weight in question.weights.items()}
    asked = sum(weights.values())
    if not hits:
        return None
    if (question.page is not None and not question.subject) or question.wants_overview:
        return _opening(hits[0])
    if not asked:
        return None
    best_hit = max(hit.score for hit in hits) or 1.0
    candidates: list[_Candidate] = []
    for document, page, relevance in _pages(hits):
        for statement in statements_of(page):
            covered, score = _score(question, weights, asked, statement, document.name)
            candidates.append(_Candidate(document, page, statement, covered, score + 0.08 * relevance / best_hit))
    enough = _COVERAGE_BY_ANSWER if question.about_answer else _COVERAGE
    fitting = [candidate for candidate in candidates if candidate.covered >= enough]
    if not fitting:
        return None
    best = max(fitting, key=lambda candidate: candidate.score)
    if table := best.statement.table:
        text = _quote_table(question, weights, table, fitting)
    else:
        text = _quote_sentences(question, best, fitting, candidates)
    if len(text) > _LONGEST:
        text = text[:_LONGEST].rpartition(" ")[0] + " …"
    return Answer(text, best.document, best.page)


def _opening(hit: Hit) -> Answer:
    """Return how the page of a hit begins, for a question that names a page and nothing else."""
    passage = hit.passage
    statements = statements_of(passage.page)
    whole = [statement.text for statement in statements if statement.text.endswith((".", "!", "?"))]
    return Answer(" ".join(whole[:_SENTENCES]) or passage.text, passage.document, passage.page)


def _pages(hits: Iterable[Hit]) -> list[tuple[Document, Page, float]]:
    """Return the pages of the hits, each once, with the score of its best passage."""
    found: dict[int, tuple[Document, Page, float]] = {}
    for hit in hits:
        passage = hit.passage
        key = id(passage.page)
        if key not in found or found[key][2] < hit.score:
            found[key] = (passage.document, passage.page, hit.score)
    return list(found.values())


def _score(
    question: Question, weights: dict[str, float], asked: float, statement: Statement, name: str
) -> tuple[float, float]:
    """Return how much of the question a statement covers, from 0 to 1; and its score, with everything in its favour."""
    subject = [term for term in question.subject if weights[term]]
    titled = bool(subject) and statement.title.issuperset(subject)
    near = 1.0 if titled else _IN_HEADER if statement.table and statement.own & weights.keys() else _NEAR
    covered = 0.0
    direct = 0.0
    for term, weight in weights.items():
        if term in statement.own:
            covered += weight
            direct += weight
        elif term in statement.near:
            covered += near * weight
        elif term in statement.around:
            covered += _AROUND * weight
    covered /= asked
    if not subject and not question.about_answer and not statement.own.issuperset(weights):
        # "What is the total?" has only words that shape a question; half of them mean nothing.
        return 0.0, 0.0
    reached = statement.own | statement.near | statement.around
    if sum(term not in reached for term in subject) > len(subject) // 3:
        return 0.0, 0.0
    if question.periods:
        # "And in 2024?" asks for the same thing at another time: both must occur.
        things = [term for term in subject if not period(term)]
        if any(term not in reached and term not in name.lower() for term in question.periods):
            return 0.0, 0.0
        if sum(term not in reached for term in things) > len(things) // 3:
            return 0.0, 0.0
    carried = [term for term, weight in question.weights.items() if SHAPE < weight < 1]
    if carried and reached.isdisjoint(carried):
        # It has left the subject of the previous question.
        return 0.0, 0.0
    score = covered + 0.25 * titled
    counts = question.wants_count and not statement.table and _counts(subject, statement.text)
    if statement.table:
        label = frozenset(terms(re.split(r"[(:]", statement.table.rows[statement.row][0])[0]))
        label = label - (QUESTION_WORDS - weights.keys()) or label
        score += 0.25 * len(label & weights.keys()) / len(label) if label else 0.0
    else:
        score += 0.1 * direct / asked
        if len(statement.own) < 3 and not (titled or counts):
            score -= 0.2
    if question.wants_number and statement.table and _NUMBER.search(statement.text):
        score += 0.15
    elif question.wants_count:
        score += 0.2 if counts else -0.1
    elif question.wants_number and _NUMBER.search(statement.text):
        score += 0.1
    if question.wants_cause:
        score += -0.4 if statement.table else 0.25 if _CAUSE.search(statement.text) else 0.0
    return covered, score


def _counts(subject: Sequence[str], text: str) -> bool:
    """Tell whether a number shortly precedes the subject: "366 people", not "an employee has 28 days"."""
    return any(
        not set(terms(text[number.end() : number.end() + _REACH])).isdisjoint(subject)
        for number in _NUMBER.finditer(text)
    )


def _quote_sentences(
    question: Question, best: _Candidate, fitting: Sequence[_Candidate], candidates: Sequence[_Candidate]
) -> str:
    """Quote the best sentence with those of its page that fit almost as well, in the order of the page.

    A sentence that announces an enumeration is quoted with it: "Three findings explain it. First, ...". A definition is
    quoted with the sentences that continue it.
    """
    whole = best.statement.own.issuperset(question.subject)
    good = [
        candidate
        for candidate in fitting
        if candidate.page is best.page
        and not candidate.statement.table
        and candidate.score >= _ALMOST_AS_GOOD * best.score
        and (not whole or candidate.statement.own.issuperset(question.subject))
    ]
    first = good[:_SENTENCES] if best in good[:_SENTENCES] else sorted(good, key=lambda one: -one.score)[:_SENTENCES]
    chosen = {id(one.statement) for one in first}
    text = ""
    follows = False
    more = _SENTENCES - 1 if question.wants_definition else 0
    for statement in (candidate.statement for candidate in candidates if candidate.page is best.page):
        quoted = id(statement) in chosen or (follows and bool(_ENUMERATES.match(statement.text)))
        if follows and not quoted and more and _GOES_ON.match(statement.text):
            quoted = True
            more -= 1
        if quoted:
            text += (" " if follows else " … " if text else "") + statement.text
        follows = quoted
    return text


def _quote_table(question: Question, weights: dict[str, float], table: Table, fitting: Sequence[_Candidate]) -> str:
    """Quote the requested rows under their header, with only the requested columns if there are any."""
    rows = [candidate for candidate in fitting if candidate.statement.table is table]
    top = max(candidate.score for candidate in rows)
    chosen = [candidate.statement.row for candidate in rows if candidate.score >= _ALMOST_AS_GOOD * top]
    columns = _asked_columns(weights, table)
    if question.extreme and (row := _extreme_row(question.extreme, table, columns)) is not None:
        chosen = [row]
    shown = [0, *columns] if columns else range(len(table.header))

    def narrowed(cells: Sequence[str]) -> tuple[str, ...]:
        return tuple(cells[at] for at in shown)

    part = Table(
        table.caption, narrowed(table.header), tuple(narrowed(table.rows[row]) for row in chosen[:_TABLE_ROWS])
    )
    return part.text


def _asked_columns(weights: dict[str, float], table: Table) -> list[int]:
    """Return the columns whose headers match the question, if some do and others do not."""
    fits = [sum(weights.get(term, 0.0) for term in set(terms(cell)) - QUESTION_WORDS) for cell in table.header]
    columns = [at for at, fit in enumerate(fits) if at and fit and fit >= 0.99 * max(fits[1:])]
    return columns if len(columns) < len(fits) - 1 else []


def _extreme_row(extreme: int, table: Table, columns: Sequence[int]) -> int | None:
    """Return the row with the most (or least) in the one requested column, ignoring totals."""
    candidates = columns or ([1] if len(table.header) == 2 else [])
    if len(candidates) != 1:
        return None
    numbers = [
        (extreme * float(match[0].replace(",", "")), -number)
        for number, row in enumerate(table.rows)
        if not _TOTAL.match(row[0]) and (match := _NUMBER.search(row[candidates[0]]))
    ]
    return -max(numbers)[1] if len(numbers) > 1 else None
