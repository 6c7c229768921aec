"""Tools for the tests of your own application: a local server whose answers go wrong as scripted.

```python
from chat_sessions import LocalServer
from chat_sessions.testing import Cut

with LocalServer(indexes={"idx-docs": "docs/"}, faults=[Cut(at_byte=400, how="reset")]) as server:
    server.client().session().ask("What was revenue?")   # the first turn breaks, the next ones do not
```

`Faults` is the script, `server.faults`. `FaultProxy` plays a script in front of any server of yours (extra:
`server`). `chat_sessions_server` is the pytest fixture that makes such servers; pytest finds it by itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from chat_sessions.testing import faults
from chat_sessions.testing.faults import *  # noqa: F403 (each of its names)
from chat_sessions.testing.script import Faults, SeenRequest

if TYPE_CHECKING:
    from chat_sessions.testing.fixture import MakeServer, chat_sessions_server
    from chat_sessions.testing.proxy import FaultProxy

__all__ = ["FaultProxy", "Faults", "MakeServer", "SeenRequest", "chat_sessions_server"]
__all__ += faults.__all__

# The proxy needs h11 and the fixture pytest; nothing else here needs more than the package itself.
_LAZY = {"FaultProxy": "proxy", "MakeServer": "fixture", "chat_sessions_server": "fixture"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
