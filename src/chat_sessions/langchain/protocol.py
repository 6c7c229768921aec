"""A live turn as LangChain's content-block protocol (`stream_events(version="v3")`).

A tool's arguments and result are sent at once. LangChain would hold them back until the message ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from chat_sessions.core.events import Stop, Text, Thinking
from chat_sessions.core.turn import Turn, Update
from chat_sessions.langchain.blocks import Block
from chat_sessions.langchain.content import BlockWriter, MessageForm, finish_fields

if TYPE_CHECKING:
    from langchain_protocol.protocol import MessagesData

__all__ = ["ProtocolWriter"]


class ProtocolWriter:
    """Makes the protocol events of one message. At most one block is open at a time."""

    def __init__(self, form: MessageForm) -> None:
        self._form = form
        self._blocks = BlockWriter()
        self._open: Block | None = None
        self._pieces: list[str] = []

    def start(self) -> MessagesData:
        """Return the event that begins the message."""
        return _made(
            event="message-start",
            role="ai",
            id=self._form.message_id or "",
            metadata={"provider": self._form.provider, "model": self._form.model_name},
        )

    def add(self, update: Update) -> Iterator[MessagesData]:
        """Yield what one live update adds; nothing for a final, which repeats its deltas, and for a stop."""
        if isinstance(update, Text | Thinking | Stop):
            return
        block = self._form.shown(self._blocks.block(update))
        if block is None:
            return
        kind, index = block["type"], block["index"]
        if self._open is None or self._open["index"] != index:
            yield from self._finish_block()
            yield _made(event="content-block-start", index=index, content=_skeleton(block))
            if kind not in ("text", "reasoning"):
                yield _made(event="content-block-finish", index=index, content=block)
                return
            self._open = block
        self._pieces.append(block[kind])
        yield _made(event="content-block-delta", index=index, delta={"type": f"{kind}-delta", kind: block[kind]})

    def _finish_block(self) -> Iterator[MessagesData]:
        if self._open is not None:
            block, kind = self._open, self._open["type"]
            whole = {**block, kind: "".join(self._pieces)}
            self._open, self._pieces = None, []
            yield _made(event="content-block-finish", index=block["index"], content=whole)

    def end(self, turn: Turn, session_id: str | None) -> Iterator[MessagesData]:
        """Yield the events that end the message of this turn."""
        yield from self._finish_block()
        usage = self._form.usage(turn)
        yield _made(
            event="message-finish",
            **finish_fields(turn),
            **({} if usage is None else {"usage": usage}),
            metadata=self._form.metadata(turn, session_id),
        )


def _skeleton(block: Block) -> Block:
    """Return a block as it starts: without what its deltas or its finish bring."""
    kind = block["type"]
    if kind in ("text", "reasoning"):
        return {"type": kind, kind: ""}
    if kind == "server_tool_call":
        return {**block, "args": {}}
    return {key: value for key, value in block.items() if key != "output"}


def _made(**fields: Any) -> MessagesData:
    # The protocol's TypedDicts are closed, and newer LangChain versions add fields to them.
    return cast("MessagesData", fields)
