"""One event of an OpenHands conversation as events of a turn.

| OpenHands | a turn |
|---|---|
| MessageEvent of the user | user_input |
| reasoning or thinking blocks of a message or an action | thinking |
| MessageEvent of the agent; the thought of an action; the message of the finish tool | text |
| ActionEvent | tool_call |
| ObservationEvent, AgentErrorEvent, UserRejectObservation | tool_result |
| ACPToolCallEvent | tool_call, then tool_result |
| ConversationErrorEvent, ConversationStateUpdateEvent | the stop: see `turn_facts` |
| SystemPromptEvent | nothing: it belongs to no turn |
| any other kind | UnknownEvent, its kind as the type |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from pydantic import JsonValue

from chat_sessions.core.events import Event, Text, Thinking, ToolCall, ToolResult, UnknownEvent, UserInput
from chat_sessions.openhands.events.json_values import (
    JsonObject,
    as_list,
    as_object,
    as_text,
    image_urls_in,
    joined_text,
)

__all__ = ["FINISH", "events_of", "is_user_message", "message_images", "message_text"]

# The tool that ends a run with a message.
FINISH = "finish"


def events_of(event: JsonObject) -> list[Event]:
    """Return this event as events of a turn; none for one that only reports the conversation's state."""
    kind = as_text(event.get("kind"))
    read = _READERS.get(kind)
    return [_unknown(event)] if read is None else read(event)


def is_user_message(event: JsonObject) -> bool:
    """Whether this event is what a user said."""
    return event.get("kind") == "MessageEvent" and event.get("source") == "user"


def message_text(event: JsonObject) -> str:
    """The text of a message."""
    return joined_text(as_object(event.get("llm_message")).get("content"))


def message_images(event: JsonObject) -> tuple[str, ...]:
    """The addresses of the images of a message."""
    return image_urls_in(as_object(event.get("llm_message")).get("content"))


def _unknown(event: JsonObject) -> UnknownEvent:
    return UnknownEvent(raw={"type": as_text(event.get("kind")) or "unknown", **event})


def _message(event: JsonObject) -> list[Event]:
    if is_user_message(event):
        return [UserInput(content=message_text(event), image_urls=message_images(event))]
    if event.get("source") != "agent":
        return [_unknown(event)]
    message = as_object(event.get("llm_message"))
    return [*_thinking(message), *_text(message_text(event))]


def _action(event: JsonObject) -> list[Event]:
    said = [*_thinking(event), *_text(joined_text(event.get("thought")))]
    action = as_object(event.get("action"))
    # A finish call that did not validate is answered with an error like any other.
    if event.get("tool_name") == FINISH and action:
        return [*said, *_text(as_text(action.get("message")))]
    call = as_object(event.get("tool_call"))
    return [
        *said,
        ToolCall(
            call_id=as_text(event.get("tool_call_id")),
            name=as_text(event.get("tool_name")),
            arguments=_arguments(call.get("arguments")),
        ),
    ]


def _arguments(value: JsonValue) -> JsonObject:
    """Return the arguments as the model wrote them; anything but a JSON object becomes `input`."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {"input": value}
    return value if isinstance(value, dict) else {} if value is None else {"input": value}


def _observation(event: JsonObject) -> list[Event]:
    if event.get("tool_name") == FINISH:
        return []
    observation = as_object(event.get("observation"))
    content = observation.get("content")
    return [_result(event, {**observation, "content": joined_text(content, "\n")}, image_urls_in(content))]


def _agent_error(event: JsonObject) -> list[Event]:
    return [_result(event, {"is_error": True, "error": as_text(event.get("error"))})]


def _rejection(event: JsonObject) -> list[Event]:
    reason = as_text(event.get("rejection_reason"))
    return [_result(event, {"is_error": True, "error": f"rejected: {reason}", "rejection_reason": reason})]


def _result(event: JsonObject, result: JsonObject, images: tuple[str, ...] = ()) -> ToolResult:
    call_id, name = as_text(event.get("tool_call_id")), as_text(event.get("tool_name"))
    return ToolResult(call_id=call_id, name=name, result=result, image_urls=images)


def _acp_call(event: JsonObject) -> list[Event]:
    """A call of an agent run over the Agent Client Protocol: sent twice or more under one id, until it has ended."""
    call_id, name = as_text(event.get("tool_call_id")), as_text(event.get("title"))
    if event.get("status") not in ("completed", "failed"):
        return [ToolCall(call_id=call_id, name=name, arguments=_arguments(event.get("raw_input")))]
    failed = event.get("is_error") is True or event.get("status") == "failed"
    result: JsonObject = {"content": event.get("raw_output"), "is_error": failed}
    return [ToolResult(call_id=call_id, name=name, result=result)]


def _thinking(said: JsonObject) -> list[Event]:
    blocks = as_list(said.get("thinking_blocks"))
    content = as_text(said.get("reasoning_content")) or "".join(
        as_text(as_object(block).get("thinking")) for block in blocks
    )
    return [Thinking(content=content)] if content else []


def _text(content: str) -> list[Event]:
    return [Text(content=content)] if content else []


def _nothing(event: JsonObject) -> list[Event]:  # noqa: ARG001 - a reader like the others
    return []


_READERS: Mapping[str, Callable[[JsonObject], list[Event]]] = {
    "MessageEvent": _message,
    "ActionEvent": _action,
    "ObservationEvent": _observation,
    "AgentErrorEvent": _agent_error,
    "UserRejectObservation": _rejection,
    "ACPToolCallEvent": _acp_call,
    "ConversationErrorEvent": _nothing,
    "ConversationStateUpdateEvent": _nothing,
    "StreamingDeltaEvent": _nothing,
    "SystemPromptEvent": _nothing,
}
