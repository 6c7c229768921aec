"""A language model on loopback that does what the last word of its prompt tells it.

It speaks the OpenAI completions API, streamed and whole. The words are the first of the user's
last message: see `SCRIPT`. A request without tools is one for a title or a side question.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from tests.loopback_server import LoopbackHandler, LoopbackServer

TITLE = "A scripted title"
# What each answer costs, whatever it says.
INPUT_TOKENS, OUTPUT_TOKENS = 100, 20


@dataclass(frozen=True)
class Answer:
    """What the model says: reasoning, text, then tool calls."""

    text: tuple[str, ...] = ()
    thinking: tuple[str, ...] = ()
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    status: int = 200
    # After this many pieces of text the answer waits until the test lets it go on.
    held_after: int | None = None
    # What else the usage says: tokens read from a cache, and tokens of reasoning.
    cached: int = 0
    reasoned: int = 0
    # Whether it answers its own tool's result with the same again.
    repeats: bool = False


_PLAIN = Answer(("Plain ", "answer ", "in ", "pieces."), ("No ", "tool ", "needed."))
_AFTER_TOOL = Answer(("The ", "tool ", "has ", "answered."), ("It ", "worked."))
SCRIPT = {
    "TEXT": _PLAIN,
    "CACHED": Answer(("Thought ", "through."), ("At ", "length."), cached=60, reasoned=15),
    "TOOL": Answer(("I ", "will ", "think."), ("A ", "thought."), (("think", {"thought": "one"}),)),
    "SHELL": Answer(("I ", "will ", "look."), ("A ", "command."), (("terminal", {"command": "echo from-the-shell"}),)),
    "SECRET": Answer((), (), (("terminal", {"command": "echo length ${#TOKEN}"}),)),
    "PARALLEL": Answer((), ("Two ", "thoughts."), (("think", {"thought": "one"}), ("think", {"thought": "two"}))),
    "FINISH": Answer(("Wrapping ", "up. "), (), (("finish", {"message": "Finished by the tool."}),)),
    "BADTOOL": Answer((), (), (("no_such_tool", {"x": 1}),)),
    "BADARGS": Answer((), (), (("think", {"nope": 1}),)),
    "HELD": Answer(("Half ", "of ", "it, ", "and ", "the ", "rest."), (), (), 200, 2),
    # More than the newer server puts in one frame of its socket.
    "LARGE": Answer(("large " * 1_700_000,)),
    # Of which 1.18.1 writes all to its log, slowly, if its reader hangs up before the end.
    "OVER": Answer(("over " * 300_000,)),
    "REPEAT": Answer((), (), (("think", {"thought": "again"}),), repeats=True),
    "FAIL500": Answer(status=500),
    "FAIL401": Answer(status=401),
}


@dataclass
class ModelServer:
    """The server. `held` is set while an answer waits for `release`."""

    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    paths: list[str] = field(default_factory=list[str])
    # Keys that it refuses.
    bad_keys: frozenset[str] = frozenset(("sk-bad",))
    held: threading.Event = field(default_factory=threading.Event)
    _go_on: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        model = self

        class Handler(LoopbackHandler):
            def respond(self) -> None:
                body: dict[str, Any] = json.loads(self.body())
                model.requests.append(body)
                model.paths.append(self.path)
                model.headers.append({name.lower(): value for name, value in self.headers.items()})
                if self.headers.get("Authorization", "").removeprefix("Bearer ") in model.bad_keys:
                    self.answer({"error": {"message": "scripted: a bad key", "type": "scripted"}}, 401)
                    return
                if "/chat/completions" not in self.path:
                    self.answer({"error": {"message": "scripted: no such API", "type": "scripted"}}, 404)
                    return
                answer = model.answer(body)
                if answer.status != 200:
                    self.answer({"error": {"message": "scripted failure", "type": "scripted"}}, answer.status)
                elif body.get("stream"):
                    self.send_response(200)
                    self.send_header("Content-Type", "text/event-stream")
                    self.end_headers()
                    try:
                        for chunk in model.chunks(answer, len(model.requests)):
                            self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
                            self.wfile.flush()
                        self.wfile.write(b"data: [DONE]\n\n")
                    except OSError:
                        return
                else:
                    self.answer(model.whole(answer, len(model.requests)))

        server = LoopbackServer(Handler)
        # Of what the agent server has given up, an answer may still be on its way.
        server.daemon_threads = True
        self.url = f"{server.url}/v1"
        self._running = server.running()
        self._running.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._go_on.set()
        self._running.__exit__(kind, e, tb)

    def hold(self) -> None:
        """Make the next held answer wait again."""
        self.held.clear()
        self._go_on.clear()

    def release(self) -> None:
        self._go_on.set()

    def wait(self) -> None:
        """Wait until the answer may go on, as a held one does."""
        self.held.set()
        self._go_on.wait()

    def answer(self, body: dict[str, Any]) -> Answer:
        messages: list[dict[str, Any]] = body["messages"]
        if not body.get("tools"):
            return Answer((TITLE,))
        last = next(message for message in reversed(messages) if message["role"] == "user")["content"]
        # Images follow the text.
        texts = [last] if isinstance(last, str) else [str(part["text"]) for part in last if part["type"] == "text"]
        words = texts[-1].split() if texts else ["TEXT"]
        answer = SCRIPT.get(words[0], _PLAIN)
        if words[0] in ("VIEW", "WRITE"):
            # A file of the workspace, whose place the prompt tells.
            command = {"command": "view"} if words[0] == "VIEW" else {"command": "create", "file_text": "a,b\n1,2\n"}
            answer = Answer(calls=(("file_editor", {**command, "path": words[1]}),))
        return _AFTER_TOOL if messages[-1]["role"] == "tool" and not answer.repeats else answer

    def images(self) -> list[list[str]]:
        """The addresses of the images in each request, in their order."""
        return [
            [
                part["image_url"]["url"]
                for message in body["messages"]
                for part in (message["content"] if isinstance(message.get("content"), list) else ())
                if part["type"] == "image_url"
            ]
            for body in self.requests
        ]

    def chunks(self, answer: Answer, number: int) -> Iterator[dict[str, Any]]:
        def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            return {
                "id": f"scripted-{number}",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "scripted",
            } | {"choices": [choice]}

        yield chunk({"role": "assistant", "content": ""})
        for piece in answer.thinking:
            yield chunk({"reasoning_content": piece})
        for position, piece in enumerate(answer.text):
            if position == answer.held_after:
                self.wait()
            yield chunk({"content": piece})
        for position, (name, arguments) in enumerate(answer.calls):
            function = {"name": name, "arguments": json.dumps(arguments)}
            call = {"index": position, "id": f"call_{number}_{position}", "type": "function", "function": function}
            yield chunk({"tool_calls": [call]})
        yield chunk({}, "tool_calls" if answer.calls else "stop")
        yield chunk({}) | {"choices": [], "usage": _usage(answer)}

    def whole(self, answer: Answer, number: int) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(answer.text) or None}
        if answer.thinking:
            message["reasoning_content"] = "".join(answer.thinking)
        if answer.calls:
            message["tool_calls"] = [
                {
                    "id": f"call_{number}_{position}",
                    "type": "function",
                    "function": {"name": name, "arguments": json.dumps(arguments)},
                }
                for position, (name, arguments) in enumerate(answer.calls)
            ]
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if answer.calls else "stop"}
        base = {"id": f"scripted-{number}", "object": "chat.completion", "created": 1, "model": "scripted"}
        return {**base, "choices": [choice], "usage": _usage(answer)}


def _usage(answer: Answer) -> dict[str, Any]:
    return {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        "prompt_tokens_details": {"cached_tokens": answer.cached},
        "completion_tokens_details": {"reasoning_tokens": answer.reasoned},
    }
