"""The client is right whatever the service turns out to do: every switch of the local server, in any combination."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chat_sessions import (
    Event,
    LocalServer,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    Turn,
)
from chat_sessions.server import AgentTurn, Behaviour

SAID: tuple[Event, ...] = (
    Thinking(content="Let me look."),
    ToolCall(call_id="1", name="retrieve", arguments={"query": "q"}),
    ToolResult(call_id="1", name="retrieve", result={"results": [{"content": "It rose.", "score": 1.0}]}),
    Text(content="First, it rose. "),
    Thinking(content="More?"),
    Text(content="Then, line\u2028separated, it fell 😀."),
)


class Speaker:
    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        for event in SAID:
            if isinstance(event, Text | Thinking):
                made = TextDelta if isinstance(event, Text) else ThinkingDelta
                for word in event.content.split(" "):
                    yield made(content=word + " ")
                event = type(event)(content=event.content + " ")
            yield event


def choices() -> dict[str, list[Any]]:
    hints = get_type_hints(Behaviour)
    found: dict[str, list[Any]] = {}
    for field in fields(Behaviour):
        options = [True, False] if hints[field.name] is bool else list(get_args(hints[field.name]))
        found[field.name] = [value for value in options if isinstance(value, str | bool | int)]
    found["keep_alive"] = [None, 0.01]
    found["default_shared_access"] = [None, "query", "read_only"]
    return found


CHOICES = choices()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("documents")
    (path / "note.md").write_text("# Note\n\nIt rose, then it fell.\n")
    return path


def check(behaviour: Behaviour, folder: Path) -> None:
    with LocalServer(indexes={"idx-docs": folder}, agent=Speaker(), behaviour=behaviour) as server:
        chat = server.client()
        session = chat.session()
        shown: list[str] = []
        with session.stream("one") as stream:
            shown += stream.text_deltas()
        first = stream.turn
        second = asyncio.run(chat.aio.session(session.id).ask("two"))
        for turn in (first, second):
            assert [type(event).__name__ for event in turn.events[:-1]] == [type(event).__name__ for event in SAID]
            assert turn.text == "First, it rose.  Then, line\u2028separated, it fell 😀. "
            assert turn.tool_runs[0].status == "completed"
            assert [source.text for source in turn.sources] == ["It rose."]
        assert "".join(shown) == first.text
        assert [Turn(turn.prompt, turn.events) for turn in session.turns()] == [first, second]
        assert session.set_title("a title").title_origin in ("requested", "automatic")


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in CHOICES.items() for value in values])
def test_a_turn_is_the_same_under_each_switch(name: str, value: object, folder: Path) -> None:
    check(Behaviour(**{name: value}), folder)  # type: ignore[arg-type]


@given(st.fixed_dictionaries({name: st.sampled_from(values) for name, values in CHOICES.items()}))
@settings(max_examples=25)
def test_a_turn_is_the_same_under_any_combination_of_switches(folder: Path, values: dict[str, Any]) -> None:
    check(Behaviour(**values), folder)
