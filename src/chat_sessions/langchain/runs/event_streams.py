"""`stream_events(version="v3")`: LangChain's own stream objects, fed by a turn.

Written by hand for both sides: the reader pumps the sync one, a task the async one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator
from typing import Any

from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
from langchain_core.messages import AIMessage

from chat_sessions.langchain.input.call import Call
from chat_sessions.langchain.runs.async_run import AsyncModelRun
from chat_sessions.langchain.runs.run import ModelRun
from chat_sessions.session.waiting import running_loop

__all__ = ["AsyncEventStream", "event_stream"]


def event_stream(call: Call) -> ChatModelStream:
    """Return the events of a turn, which is sent when the first is read."""
    stream = ChatModelStream()
    events = _dispatched(call, stream)

    def pump() -> bool:
        try:
            next(events)
        except StopIteration:
            return False
        except BaseException as error:  # noqa: BLE001 - the stream raises it
            stream.fail(error)
            return False
        return True

    stream.bind_pump(pump)
    return stream


def _dispatched(call: Call, stream: ChatModelStream) -> Iterator[None]:
    """Dispatch the events of a turn one by one. Dropping the stream half-way closes this, and so the run."""
    with ModelRun(call, is_v1=True) as run:
        stream.set_message_id(run.message_id)
        update = None
        while True:
            for event in run.turn.protocol_events(update):
                stream.dispatch(event)
                run.tell_event(event)
                if not stream.done:  # once done, nothing more is requested, so the run must end now
                    yield
            if (update := run.turn.take() or run.turn.next()) is None:
                return


class AsyncEventStream(AsyncChatModelStream):
    """The events of a turn, which is sent when the first is read, and then read to its end.

    `aclose` ends the turn, unless its message is whole already.
    """

    def __init__(self, call: Call) -> None:
        super().__init__()
        self._call = call
        self._reading: asyncio.Task[None] | None = None
        self.set_start(self._start)

    async def _start(self) -> None:
        if self._reading is None and not self.done:
            self._reading = running_loop().create_task(self._read())

    async def _read(self) -> None:
        try:
            async with AsyncModelRun(self._call, is_v1=True) as run:
                self.set_message_id(run.message_id)
                update = None
                while True:
                    for event in run.turn.protocol_events(update):
                        self.dispatch(event)
                        await run.tell_event(event)
                    if (update := run.turn.take() or await run.turn.next()) is None:
                        return
        except Exception as error:  # noqa: BLE001 - the stream raises it
            self.fail(error)
        except BaseException as error:
            self.fail(error)
            raise

    def __await__(self) -> Generator[Any, None, AIMessage]:
        """Wait for the message and the end of the run."""
        return self._whole().__await__()

    async def _whole(self) -> AIMessage:
        message: AIMessage = await self.output
        await self._end()
        return message

    async def aclose(self) -> None:
        """End the turn and its run before returning. Idempotent."""
        if self._reading is None:
            if not self.done:
                self.fail(asyncio.CancelledError())
        elif self.output_message is None:
            self._reading.cancel()
        await self._end()

    async def _end(self) -> None:
        if self._reading is not None:
            await asyncio.wait((self._reading,))
