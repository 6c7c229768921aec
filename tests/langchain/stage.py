"""A local server whose agent does what the test says, and what the tests look at."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import LLMResult

from chat_sessions import LlamaCloudChat, LocalServer, Timeouts
from chat_sessions.core.events import Event, Stop, TextDelta, ThinkingDelta, ToolCall, ToolResult
from chat_sessions.core.models import ImageAttachment, Usage
from chat_sessions.langchain import SessionChatModel
from chat_sessions.server import AgentTurn, Behaviour

Step = Event | threading.Event

SEARCH = ToolCall(call_id="c1", name="search", arguments={"q": "Q3"})
READ = ToolCall(call_id="c2", name="read", arguments={"page": 2})
READ_RESULT = ToolResult(
    call_id="c2",
    name="read",
    result={"text": "Revenue grew.", "page": 2, "file_name": "report.pdf"},
    image_attachment=ImageAttachment(attachment_name="page_2.jpg", source_id="dfl-1"),
)
SEARCH_RESULT = ToolResult(
    call_id="c1",
    name="search",
    result={"results": [{"content": "Q3 was good.", "file_name": "report.pdf", "page": 1, "score": 0.5}]},
)
STOP = Stop(usage=Usage(input_tokens=10, output_tokens=4, turns=2, duration_ms=5.0), is_error=False)
FAILED = Stop(usage=Usage(input_tokens=10, output_tokens=4), is_error=True, error="the index burned")

# Two tools that run at the same time and end in the other order.
TURN: tuple[Event, ...] = (
    ThinkingDelta(content="let me "),
    ThinkingDelta(content="look"),
    SEARCH,
    READ,
    READ_RESULT,
    SEARCH_RESULT,
    TextDelta(content="Hello "),
    TextDelta(content="world"),
    STOP,
)
TEXT: tuple[Event, ...] = (TextDelta(content="Hello "), TextDelta(content="world"), STOP)
TEXT_TOOL_TEXT: tuple[Event, ...] = (
    TextDelta(content="Looking. "),
    SEARCH,
    SEARCH_RESULT,
    TextDelta(content="Found "),
    TextDelta(content="it."),
    STOP,
)


def drafts(number: int) -> Sequence[Event]:
    """A script whose answers differ: "draft 1", "draft 2" and so on."""
    return TextDelta(content=f"draft {number}"), STOP


@dataclass
class Actor:
    """The server's agent: plays the script, which may depend on how many prompts came; waits for events of threads."""

    script: Sequence[Step] | Callable[[int], Sequence[Step]] = TURN
    prompts: list[str] = field(default_factory=list[str])
    sessions: list[str] = field(default_factory=list[str])
    indexes: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    running: int = 0
    most_running: int = 0
    gates: list[threading.Event] = field(default_factory=list[threading.Event])
    ended: threading.Event = field(default_factory=threading.Event)

    async def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        self.prompts.append(turn.prompt)
        self.sessions.append(turn.session_id)
        self.indexes.append(tuple(index.index_id for index in turn.indexes))
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            for step in self.script(len(self.prompts)) if callable(self.script) else self.script:
                if isinstance(step, threading.Event):
                    await asyncio.to_thread(step.wait, 30)
                else:
                    yield step
        finally:
            self.running -= 1
            self.ended.set()

    def gate(self) -> threading.Event:
        """A step that holds the agent until the test sets it."""
        made = threading.Event()
        self.gates.append(made)
        return made


@dataclass
class Stage:
    """A running server, its agent and a client of it."""

    server: LocalServer
    actor: Actor
    client: LlamaCloudChat

    def model(self, **fields: Any) -> SessionChatModel:
        """A model on this server."""
        return SessionChatModel(client=self.client, **fields)

    def new_session(self, *index_ids: str) -> str:
        """A new session, of one index unless others are named."""
        return self.client.create(index_ids=list(index_ids) or ["idx-docs"]).session_id

    def play(self, *script: Step) -> Stage:
        """From now on, the agent does this."""
        self.actor.script = script
        return self


Opener = Callable[..., Stage]


class House:
    """A server for many stages: each has an agent of its own, and the sessions of the others are there too."""

    def __init__(self, folder: Path, behaviour: Behaviour | None = None) -> None:
        (folder / "report.md").write_text("# Report\n\nRevenue grew by 4 percent in Q3.\n")
        self._actor = Actor()
        self.server = LocalServer(
            indexes={"idx-docs": str(folder), "idx-more": str(folder)}, agent=self, behaviour=behaviour
        )

    def run(self, turn: AgentTurn) -> AsyncIterator[Event]:
        """As the server's agent: the actor of the stage that is open."""
        return self._actor.run(turn)

    @contextmanager
    def stage(self, timeouts: Timeouts | None = None) -> Iterator[Stage]:
        """The stage of one test; at its end nothing is held any more."""
        self._actor = actor = Actor()
        with self.server.client(timeouts=timeouts) as client:
            yield Stage(self.server, actor, client)
        for gate in actor.gates:
            gate.set()


@contextmanager
def open_stage(folder: Path, behaviour: Behaviour | None = None, timeouts: Timeouts | None = None) -> Iterator[Stage]:
    """A server for one stage alone."""
    house = House(folder, behaviour)
    with house.server, house.stage(timeouts) as stage:
        yield stage


class Recorder(BaseCallbackHandler):
    """What a handler is told: (event, run, parent run, detail); runs are R0, R1 ... as they come."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str, str, Any]] = []
        self.messages: list[BaseMessage] = []
        self.tags: dict[str, list[str]] = {}
        self.metadata: dict[str, dict[str, Any]] = {}
        self.run_ids: dict[str, UUID] = {}
        self.started: dict[str, dict[str, Any]] = {}
        self._names: dict[UUID, str] = {}

    def _name(self, run_id: UUID | None) -> str:
        return "-" if run_id is None else self._names.setdefault(run_id, f"R{len(self._names)}")

    def _note(self, event: str, run_id: UUID, parent_run_id: UUID | None, detail: Any = None) -> None:
        self.log.append((event, self._name(run_id), self._name(parent_run_id), detail))

    def _start(self, event: str, run_id: UUID, parent_run_id: UUID | None, detail: Any, kwargs: dict[str, Any]) -> None:
        self._note(event, run_id, parent_run_id, detail)
        name = self._name(run_id)
        self.run_ids[name] = run_id
        self.tags[name] = list(kwargs.get("tags") or [])
        self.metadata[name] = dict(kwargs.get("metadata") or {})
        self.started[name] = kwargs

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        self._start("chain_start", run_id, parent_run_id, kwargs.get("name"), kwargs)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any) -> None:
        self._note("chain_end", run_id, parent_run_id)

    def on_chain_error(
        self, error: BaseException, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        self._note("chain_error", run_id, parent_run_id, error)

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        self._start("llm_start", run_id, parent_run_id, kwargs.get("name"), kwargs)

    def on_llm_new_token(
        self, token: Any, *, chunk: Any = None, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        self._note("token", run_id, parent_run_id, token)

    def on_stream_event(self, event: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any) -> None:
        self._note("stream_event", run_id, parent_run_id, event)

    def on_llm_end(
        self, response: LLMResult, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        self.messages.append(response.generations[0][0].message)  # type: ignore[union-attr]
        self._note("llm_end", run_id, parent_run_id, response)

    def on_llm_error(
        self, error: BaseException, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        self._note("llm_error", run_id, parent_run_id, (error, kwargs.get("response")))

    def on_tool_start(
        self,
        serialized: Any,
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        inputs: Any = None,
        **kwargs: Any,
    ) -> None:
        detail = (serialized.get("name"), inputs, kwargs.get("tool_call_id"), kwargs.get("name"))
        self._start("tool_start", run_id, parent_run_id, detail, kwargs)

    def on_tool_end(self, output: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any) -> None:
        self._note("tool_end", run_id, parent_run_id, output)

    def on_tool_error(
        self, error: BaseException, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        self._note("tool_error", run_id, parent_run_id, error)

    @property
    def runs(self) -> list[tuple[str, str, str]]:
        """The sequence without tokens: (event, run, parent)."""
        return [entry[:3] for entry in self.log if entry[0] not in ("token", "stream_event")]

    @property
    def names(self) -> list[str]:
        """The sequence of events without tokens."""
        return [event for event, _, _ in self.runs]

    def details(self, event: str) -> list[Any]:
        """What was told with each event of this name."""
        return [entry[3] for entry in self.log if entry[0] == event]

    def first(self, event: str) -> Any:
        """What was told with the first event of this name."""
        return self.details(event)[0]


# The order of callbacks for TURN: the second tool ends before the first.
SEQUENCE = [
    ("llm_start", "R0", "-"),
    ("tool_start", "R1", "R0"),
    ("tool_start", "R2", "R0"),
    ("tool_end", "R2", "R0"),
    ("tool_end", "R1", "R0"),
    ("llm_end", "R0", "-"),
]


def total(chunks: Sequence[AIMessageChunk]) -> AIMessageChunk:
    """The chunks added up, as their reader does."""
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    return whole


async def finished(value: Any) -> Any:
    """What a call gave, awaited where it was an async one."""
    return await value if asyncio.iscoroutine(value) else value


def plain_blocks(message: BaseMessage) -> list[dict[str, Any]]:
    """The content blocks without their indexes."""
    return [{key: value for key, value in block.items() if key != "index"} for block in message.content_blocks]


def as_blocks(message: BaseMessage) -> list[dict[str, Any]]:
    """The content itself as blocks without their indexes, its strings as text."""
    content: Any = message.content
    parts = [content] if isinstance(content, str) else content
    made = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts if part != ""]
    return [{key: value for key, value in block.items() if key != "index"} for block in made]
