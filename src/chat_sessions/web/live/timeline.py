"""A turn in time: one row for each tool run and each stretch of words, with the gaps between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chat_sessions.core.turn import Turn
from chat_sessions.web.live.turn import Moment
from chat_sessions.web.render.blocks import Blocks, Run, Words
from chat_sessions.web.render.views import duration_text

__all__ = ["Bar", "Timeline", "moments_json", "steps_of"]

_LABELS = 160
_WIDTH = 780
_NOTES = 370
_ROW = 26
# Shorter bars would be invisible.
_SHORTEST = 3
# A pause shorter than this share of the turn does not count as a gap.
_GAP = 0.02


@dataclass(frozen=True)
class Bar:
    """A row: what it is, when, and where its bar is drawn. `gap_x` is where a gap before it begins."""

    kind: str
    label: str
    note: str
    x: float
    width: float
    y: int
    gap_x: float | None = None


@dataclass(frozen=True)
class Timeline:
    """The rows of a turn, oldest first; empty for a turn that was not seen as it happened."""

    bars: list[Bar]
    total: float
    first_token: float | None

    @classmethod
    def of(cls, moments: Sequence[Moment], turn: Turn) -> Timeline:
        """Lay out what was seen of a turn."""
        total = max((moment.ended for moment in moments), default=0.0)
        scale = _WIDTH / total if total else 0.0
        names = {number: run.name for number, run in enumerate(turn.tool_runs)}
        bars: list[Bar] = []
        quiet_since = 0.0
        for row, moment in enumerate(moments):
            gap = moment.began - quiet_since
            has_gap = gap > _GAP * total
            bars.append(
                Bar(
                    moment.kind,
                    names.get(moment.run, "tool") if moment.run is not None else moment.kind.replace("_", " "),
                    _note(moment, gap if has_gap else None),
                    _LABELS + moment.began * scale,
                    max(_SHORTEST, (moment.ended - moment.began) * scale),
                    row * _ROW,
                    _LABELS + quiet_since * scale if has_gap else None,
                )
            )
            quiet_since = max(quiet_since, moment.ended)
        first = next((moment.began for moment in moments if moment.kind == "text"), None)
        return cls(bars, total, first)

    @property
    def first_token_x(self) -> float | None:
        """Where the first words of the answer are drawn."""
        return None if self.first_token is None else _LABELS + self.first_token * _WIDTH / (self.total or 1)

    @property
    def notes_at(self) -> int:
        """Where the notes begin, after the bars."""
        return _LABELS + _WIDTH + 12

    @property
    def width(self) -> int:
        """The width of the drawing, with room for the notes."""
        return self.notes_at + _NOTES

    @property
    def height(self) -> int:
        """The height of the drawing."""
        return len(self.bars) * _ROW + 6


def moments_json(moments: Sequence[Moment]) -> list[dict[str, Any]]:
    """Return the moments as JSON, in seconds since the message was sent."""
    return [
        {"kind": m.kind, "began": round(m.began, 4), "ended": round(m.ended, 4), "events": m.count, "tool_run": m.run}
        for m in moments
    ]


def steps_of(turn: Turn) -> list[tuple[str, str]]:
    """Return the steps of a turn without times: the kind of each, and its label."""
    return [
        ("tool", block.run.name) if isinstance(block, Run) else (_kind(block), _kind(block))
        for block in Blocks.of(turn).items
    ]


def _kind(words: Words) -> str:
    return "thinking" if words.is_thinking else "text"


def _note(moment: Moment, gap: float | None) -> str:
    parts = [f"at {duration_text(moment.began)}"]
    if gap is not None:
        parts.append(f"after a gap of {duration_text(gap)}")
    if (length := duration_text(moment.ended - moment.began)) != duration_text(0):
        parts.append(f"{length} long")
    if moment.count > 1:
        parts.append(f"{moment.count} events")
    return ", ".join(parts)
