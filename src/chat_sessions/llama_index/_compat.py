"""Names of llama-index-core that its documentation does not promise, each with what breaks if it changes.

Read from llama-index-core 0.14.5 and 0.14.25, and llama-index-instrumentation 0.4 to 0.6.
`tests/llama_index/test_compat.py` fails when one of them changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Context

from llama_index.core.instrumentation.span import active_span_id
from llama_index_instrumentation.dispatcher import Dispatcher, active_instrument_tags
from llama_index_instrumentation.event_handlers import NullEventHandler

__all__ = ["MEMORY", "RAN_TOOLS", "call_tags", "enclosing_span_id", "is_heard", "tag"]

RAN_TOOLS = "current_tool_calls"
"""Where a workflow of agents collects the tools that ran, in a context's store.

It adds them to the result of the run, handoffs included. Without the name, the result lacks the hosted agent's tools.
"""

MEMORY = "memory"
"""Where a run of an agent has its memory, in a context's store.

A run makes one if there is none. Without the name, a store that accepts only known types would refuse the memory that
is made here.
"""


def enclosing_span_id() -> str | None:
    """Return the id of the span around the calling code.

    The dispatcher's own decorator reads it from this variable, and ends its span when the method returns: too early
    for a stream. Without the variable, a turn is a separate trace instead of a part of the enclosing one.
    """
    return active_span_id.get()


def call_tags() -> dict[str, object]:
    """Return the tags that the application set for this call with `instrument_tags`.

    Without the underlying variable, the spans of a turn have no tags.
    """
    return dict(active_instrument_tags.get())


def tag(context: Context, tags: Mapping[str, object]) -> None:
    """Add these tags to the events sent in this context, besides the application's own.

    `instrument_tags` removes its tags at the end of a block, and a turn is not a block. Without the underlying
    variable, events do not say which session they belong to.
    """
    context.run(active_instrument_tags.set, {**tags, **call_tags()})


def is_heard(dispatcher: Dispatcher) -> bool:
    """Return whether any handler gets the events of this dispatcher.

    Building an event costs more than handling a token, and the dispatcher offers no way to ask first. Without these
    attributes, an event is built for every piece of text.
    """
    node = dispatcher
    while True:
        if any(not isinstance(handler, NullEventHandler) for handler in node.event_handlers):
            return True
        if not node.propagate:
            return False
        node = node.parent
