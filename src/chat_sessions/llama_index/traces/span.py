"""One span of LlamaIndex's instrumentation, opened and closed by hand, in a context of its own."""

from __future__ import annotations

import inspect
import sys
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextvars import Context

from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.events.span import SpanDropEvent

__all__ = ["SESSION_ID", "Span", "dispatcher", "mark_first_token", "mark_session"]

SESSION_ID = "session.id"
"""The name of a session's id in traces: OpenInference's and OpenTelemetry's."""

_FIRST_TOKEN = "First Token Stream Event"  # noqa: S105 - OpenInference's name of an event

dispatcher = get_dispatcher(__name__)


def mark_session(context: Context, session_id: str) -> None:
    """Add a session's id to the OpenTelemetry spans of this context, as OpenInference's `using_session` does.

    An id that the application has set stays.
    """
    # An application that exports spans has imported it.
    otel = sys.modules.get("opentelemetry.context")
    if otel is not None and otel.get_value(SESSION_ID) is None:
        context.run(lambda: otel.attach(otel.set_value(SESSION_ID, session_id)))


def mark_first_token(span: Span) -> None:
    """Mark the beginning of the answer on OpenInference's span for this one, if there is one.

    OpenInference does so itself only for a model whose span ends when the answer begins. LlamaIndex's own exporter does
    not need it, since it gets the pieces as events.
    """
    otel = sys.modules.get("opentelemetry.trace")
    if otel is not None:
        current = span.context.run(otel.get_current_span)
        # Without a span of OpenInference here, the current one is the application's.
        if type(current).__module__.startswith("openinference."):
            current.add_event(_FIRST_TOKEN)


class Span:
    """An open span.

    Consumers such as OpenTelemetry attach their span to the current context when they enter it. In the reader's
    context, between two tokens, a tool's span would become the application's current span. So each span is entered and
    left in a copy of its parent's context.
    """

    def __init__(
        self,
        name: str,
        *,
        context: Context,
        parent_id: str | None,
        tags: Mapping[str, object],
        arguments: Mapping[str, object],
        instance: object = None,
    ) -> None:
        # Consumers read the span's name from the id, up to the first dash.
        self.id = f"{name}-{uuid.uuid4()}"
        self.context = context
        self._tags = tags
        self._instance = instance
        self._arguments = inspect.BoundArguments(inspect.Signature(), OrderedDict(arguments))
        self._run(
            dispatcher.span_enter,
            id_=self.id,
            bound_args=self._arguments,
            instance=instance,
            parent_id=parent_id,
            tags=dict(tags),
        )

    def child(self, name: str, *, arguments: Mapping[str, object], instance: object = None) -> Span:
        """Open a span below this one."""
        return Span(
            name,
            context=self.context.copy(),
            parent_id=self.id,
            tags=self._tags,
            arguments=arguments,
            instance=instance,
        )

    def event(self, event: BaseEvent) -> None:
        """Send an event, which has this span's id."""
        self._run(dispatcher.event, event)

    def exit(self, result: object) -> None:
        """Close the span with its result."""
        self._run(dispatcher.span_exit, id_=self.id, bound_args=self._arguments, instance=self._instance, result=result)

    def drop(self, error: BaseException) -> None:
        """Close the span as an error."""
        self.event(SpanDropEvent(span_id=self.id, err_str=str(error)))
        self._run(dispatcher.span_drop, id_=self.id, bound_args=self._arguments, instance=self._instance, err=error)

    def _run(self, function: Callable[..., object], *args: object, **kwargs: object) -> None:
        self.context.run(function, *args, **kwargs)
