"""What one open page shows of its session, and the changes that bring it up to date.

A change is one message of server-sent events: parts of the page, each with the element that it goes into.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from chat_sessions.web.live.confirmation import Confirmation
from chat_sessions.web.live.session import LiveSession, Shown
from chat_sessions.web.live.turn import LiveTurn
from chat_sessions.web.render.blocks import Block, Blocks, Run, Words
from chat_sessions.web.render.markdown import open_headings, render_markdown, stable_end
from chat_sessions.web.render.pages import template_part
from chat_sessions.web.render.remedies import remedy_for
from chat_sessions.web.render.views import TurnView, block_view

__all__ = ["Picture", "event_of", "part", "turn_view"]

_LINE_END = re.compile(r"\r\n|\r|\n")


def event_of(html: str, *, number: int | None = None) -> str:
    """Return a server-sent event with this data."""
    identity = "" if number is None else f"id: {number}\n"
    return identity + "".join(f"data: {line}\n" for line in _LINE_END.split(html)) + "\n"


def turn_view(item: Shown, *, asks: bool = False) -> TurnView:
    """Return the view of a turn as it is now; `asks` for one that has stopped for permission."""
    if (live := item.live) is not None:
        state = "" if live.state == "ended" else live.state
        return TurnView.of(item.number, live.turn, blocks=live.blocks, state=state, error=live.error)
    blocks, state = Blocks.of(item.turn), ""
    if (seen := item.seen) is not None:
        for stored_run, seen_run in zip(blocks.runs, seen.blocks.runs, strict=False):
            stored_run.seconds = seen_run.seconds
        state = "stopped" if seen.state == "stopped" and not item.turn.is_complete else ""
    return TurnView.of(item.number, item.turn, blocks=blocks, state="asks" if asks else state)


@dataclass(frozen=True)
class _Sent:
    """What a page has been sent of a running turn: how many blocks, and how many characters of the last one.

    More text will not change the first `stable` characters; `above` are the headings open after them. `ended` are the
    places of the tool runs that have ended.
    """

    state: str
    blocks: int
    length: int
    stable: int
    above: tuple[int, ...]
    ended: frozenset[int]

    @classmethod
    def of(cls, live: LiveTurn, before: _Sent | None = None) -> _Sent:
        """Return this for the turn as it is now."""
        items = live.blocks.items
        last = items[-1] if items else None
        length = stable = 0
        above: tuple[int, ...] = ()
        if isinstance(last, Words):
            known = before if before is not None and before.blocks == len(items) else None
            start = known.stable if known else 0
            length, stable = last.length, stable_end(last.text, start)
            above = open_headings(last.text[start:stable], known.above if known else ())
        ended = (place for place, block in enumerate(items) if isinstance(block, Run) and block.run.status != "running")
        return cls(live.state, len(items), length, stable, above, frozenset(ended))


class Picture:
    """What one page shows."""

    def __init__(self, session: LiveSession) -> None:
        self._session = session
        self._revision = -1
        self._sent: dict[int, _Sent] = {}
        self._state: tuple[str, str] | None = None
        self._stoppable: str | None = None
        # False: not known; the page may still show an earlier question.
        self._asked: Confirmation | Literal[False] | None = False

    def adopt(self, revision: int) -> None:
        """Take a page that was rendered at this revision as up to date, if nothing has changed and nothing runs."""
        if revision == self._session.revision and not self._session.running:
            self.whole()

    def whole(self) -> str:
        """Return all turns, for a page that shows none yet."""
        self._revision = self._session.revision
        items = self._session.shown
        self._sent = {item.number: _Sent.of(item.live) for item in items if item.live is not None}
        return "".join(self._turn(item) for item in items)

    def changes(self) -> str:
        """Return the parts that changed since the last call; "" if none did."""
        parts: list[str] = []
        if not self._session.is_known:
            # The page keeps what it shows; its status says why nothing newer comes.
            pass
        elif self._revision != self._session.revision:
            parts.append(part("#turns", "innerMorph", self.whole()))
            if (stored := self._session.stored) is not None:
                parts.append(part("#title", "innerHTML", template_part("parts.html", "title", stored)))
                parts.append(part("title", "innerHTML", template_part("parts.html", "tab", stored)))
        else:
            for item in self._session.shown:
                if item.live is not None:
                    parts += self._turn_changes(item, item.live)
        state = self.status
        if state != self._state:
            self._state = state
            parts.append(part("#status", "innerHTML", template_part("parts.html", "status", *state)))
        stoppable = self._session.stoppable
        if stoppable != self._stoppable:
            self._stoppable = stoppable
            parts.append(part("#stop", "outerHTML", template_part("parts.html", "stop", stoppable)))
        confirmation = self._session.confirmation
        if confirmation is not self._asked:
            self._asked = confirmation
            parts.append(part("#confirmation", "innerHTML", self.confirmation))
        return "".join(parts)

    @property
    def confirmation(self) -> str:
        """The actions that the agent asks to take; an empty element if there are none."""
        return template_part("parts.html", "confirmation", self._session.confirmation, self._session.session_id)

    @property
    def status(self) -> tuple[str, str]:
        """The status line of the page, and what to do about it."""
        problem, running = self._session.problem, self._session.running
        if problem is not None and not running:
            return f"The session cannot be read: {problem}", remedy_for(problem, was_reading=True)
        if self._session.confirmation is not None:
            return "The agent waits for your permission.", ""
        if not running:
            last = self._session.shown[-1:]
            if last and last[0].live is None and not last[0].turn.is_complete:
                return "The last turn has not ended.", ""
            return ("Ready", "") if self._session.turns else ("", "")
        waiting = len(running) - 1
        first = "Answering"
        if running[0].state == "looking up":
            first = "Looking up what became of the answer"
        elif running[0].state == "waiting" and self._session.is_busy:
            first = "Waiting for the turn before it"
        return f"{first}…" + (f" {waiting} more waiting." if waiting else ""), ""

    def _turn(self, item: Shown) -> str:
        """A whole turn. One that will not change is rendered once for all pages."""
        known = self._session.rendered.get(item.number)
        if known is not None and item.is_same(known[0]):
            return known[1]
        asks = self._session.asks and item.number == len(self._session.shown) - 1
        html = template_part("turn.html", "turn", turn_view(item, asks=asks), self._session.session_id)
        self._session.rendered[item.number] = item, html
        return html

    def _turn_changes(self, item: Shown, live: LiveTurn) -> list[str]:
        sent = self._sent.get(item.number)
        now = self._sent[item.number] = _Sent.of(live, sent)
        if sent is None or sent.state != now.state:
            return [part(f"#turn-{item.number}", "outerMorph", self._turn(item))]
        if live.is_over or sent == now:
            return []
        parts: list[str] = []
        for place, block in enumerate(live.blocks.items):
            view_id = f"turn-{item.number}-{place}"
            if place >= sent.blocks:
                html = self._block(item.number, place, block)
                parts.append(part(f"#turn-{item.number}-blocks", "beforeend", html))
            elif isinstance(block, Run):
                if place in now.ended - sent.ended:
                    parts.append(part(f"#{view_id}", "outerMorph", self._block(item.number, place, block)))
            elif place == sent.blocks - 1 and block.length != sent.length:
                parts += _words_changes(view_id, block.text, sent)
        return parts

    def _block(self, turn: int, place: int, block: Block) -> str:
        view = block_view(turn, place, block, is_running=True)
        return template_part("turn.html", "block", view, self._session.session_id)


def _words_changes(view_id: str, text: str, sent: _Sent) -> list[str]:
    end = stable_end(text, sent.stable)
    settled = text[sent.stable : end]
    tail = render_markdown(text[end:], above=open_headings(settled, sent.above))
    parts = [part(f"#{view_id}-tail", "innerHTML", tail or "<span></span>")]
    if settled:
        parts.insert(0, part(f"#{view_id}-stable", "beforeend", render_markdown(settled, above=sent.above)))
    return parts


def part(target: str, swap: str, html: str) -> str:
    """Return one part of a message: HTML, the element it goes into, and how."""
    return f'<hx-partial hx-target="{target}" hx-swap="{swap}">{html}</hx-partial>'
