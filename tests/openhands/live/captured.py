"""What a real server (1.58.0) has sent, and the turns in it.

The captures are whole exchanges, hosts and paths made neutral and the system prompt left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from chat_sessions.core.events import Event
from chat_sessions.core.turn import Turn, TurnFold
from chat_sessions.openhands.live.turn import LiveTurn

_FOLDER = Path(__file__).parent / "captures"
Frame = dict[str, Any]


def frames(name: str) -> list[Frame]:
    """The frames of one websocket, in their order."""
    lines = (_FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["frame"] for line in lines]


def body(name: str) -> Any:
    """The body of one HTTP answer."""
    return json.loads((_FOLDER / f"{name}.json").read_text("utf-8"))["response"]["body"]


def feed(live: LiveTurn, sent: Iterable[Frame]) -> list[Event]:
    """What the turn makes of these frames, up to its end."""
    events: list[Event] = []
    for frame in sent:
        events += live.envelope(frame) if "type" in frame else live.event(frame)
        if live.is_over:
            break
    return events


def read(name: str, prompt: str) -> LiveTurn:
    live = LiveTurn(prompt)
    feed(live, frames(name))
    return live


def turn_in(name: str, prompt: str, info: Any = None) -> Turn:
    """The turn of this prompt, as a reader has it."""
    live = LiveTurn(prompt)
    events = feed(live, frames(name))
    assert live.is_over, "the capture does not end this turn"
    return folded(prompt, [*events, live.facts.stop(info)])


def folded(prompt: str, events: Iterable[Event]) -> Turn:
    fold = TurnFold(prompt)
    for event in events:
        fold.add(event)
    return fold.turn
