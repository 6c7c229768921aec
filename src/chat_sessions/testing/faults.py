r"""What can go wrong between a client and the service, each as a value that a test can script.

```python
with LocalServer(indexes={"idx-docs": "docs/"}, faults=[Cut(at_byte=400, how="reset")]) as server:
    server.client().session().ask("What was revenue?")   # the first turn breaks, the next ones do not
```

A fault meets the next request of its route (`on`), `times` times, in the order of the script; a
request without a fault goes through as it is. Several faults that meet one request together are
a tuple: `(Split(1), Cut(at_byte=400))`; their changes to the body are made in that order. The
answer is the real server's own, so that what a client finds afterwards in the session is true.
A value that cannot be is a `ConfigurationError`.

Offsets count bytes of the answer's body, without HTTP's own framing; events are counted from 0,
comments not at all. A broken connection is broken to both sides: whether the turn then runs on is
`Behaviour.on_disconnect`'s business, as in the service.
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
