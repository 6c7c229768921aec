"""What can go wrong between a client and the service, each as a value that a test can script.

A fault affects the next request of its route (`on`), `times` times, in the order of the script. A request without a
fault passes unchanged. Several faults for the same request are a tuple, `(Split(1), Cut(at_byte=400))`, and change the
body in that order. The answers are the real server's, so what a client finds afterwards in the session is true. Raises
`ConfigurationError` for values that are not possible.

Offsets count bytes of the answer's body, without HTTP's framing. Events are counted from 0, comments are not counted.
A connection breaks for both sides: `Behaviour.on_disconnect` says whether the turn then continues, as in the service.
"""

from __future__ import annotations

from chat_sessions.testing.bodies import (
    Compressed,
    Cut,
    LineEnds,
    ProxyBuffering,
    Restart,
    Slow,
    SlowStart,
    Split,
    Stall,
)
from chat_sessions.testing.contents import (
    BadUtf8,
    Duplicate,
    Heartbeats,
    HugeEvent,
    LateHistory,
    NoLastBlankLine,
    NotJson,
    PartialHistory,
    Reorder,
    TrailAfterStop,
)
from chat_sessions.testing.fault import Fault, Fine, How, Route
from chat_sessions.testing.replies import (
    ErrorWith200,
    HtmlPage,
    Http10,
    LostAnswer,
    LostRequest,
    Redirect,
    Refuse,
    WrongContentType,
)

__all__ = [
    "BadUtf8",
    "Compressed",
    "Cut",
    "Duplicate",
    "ErrorWith200",
    "Fault",
    "Fine",
    "Heartbeats",
    "How",
    "HtmlPage",
    "Http10",
    "HugeEvent",
    "LateHistory",
    "LineEnds",
    "LostAnswer",
    "LostRequest",
    "NoLastBlankLine",
    "NotJson",
    "PartialHistory",
    "ProxyBuffering",
    "Redirect",
    "Refuse",
    "Reorder",
    "Restart",
    "Route",
    "Slow",
    "SlowStart",
    "Split",
    "Stall",
    "TrailAfterStop",
    "WrongContentType",
]
