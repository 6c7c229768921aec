"""JSON for scripts: the fields they rely on, and nothing that a terminal acts on."""

from __future__ import annotations

import json

import pytest

from chat_sessions.cli.show.json import dump, turn_report
from chat_sessions.core.events import Stop, ToolCall, ToolResult
from chat_sessions.core.models import ImageAttachment, Usage
from chat_sessions.core.turn import Turn

IMAGE = ImageAttachment(attachment_name="page.png", source_id="src-1")
TURN = Turn(
    "hello",
    (
        ToolCall(call_id="c", name="read", arguments={"page": 3}),
        ToolResult(
            call_id="c",
            name="read",
            result={"content": "text", "file_name": "a.pdf", "page": 3},
            image_attachment=IMAGE,
        ),
        Stop(usage=Usage(input_tokens=7, output_tokens=2, duration_ms=1.5), is_error=False),
    ),
)


def test_a_turn_has_the_fields_of_the_python_objects() -> None:
    report = json.loads(dump(turn_report(TURN, session_id="ses-1", service="here")))
    image = {"attachment_name": "page.png", "source_id": "src-1"}
    assert report["sources"] == [
        {
            "text": "text",
            "score": None,
            "file_name": "a.pdf",
            "file_id": None,
            "page": 3,
            "page_end": None,
            "index_id": None,
            "passage_id": None,
            "image": image,
            "metadata": {},
        }
    ]
    assert report["tool_runs"] == [
        {
            "call_id": "c",
            "name": "read",
            "arguments": {"page": 3},
            "result": {"content": "text", "file_name": "a.pdf", "page": 3},
            "image_attachment": image,
            "status": "completed",
            "image_urls": [],
        }
    ]
    # What the service did not tell has no field, so that a sum over turns does not read it as nothing.
    assert report["usage"] == {"input_tokens": 7, "output_tokens": 2, "turns": 1, "duration_ms": 1.5}


def test_no_character_of_it_can_control_a_terminal() -> None:
    assert dump("\x1b[2J\x7f\x9b é", indent=None) == '"\\u001b[2J\\u007f\\u009b \\u00e9"'


def test_what_is_not_json_is_an_error() -> None:
    with pytest.raises(TypeError, match="object has no JSON"):
        dump(object())
