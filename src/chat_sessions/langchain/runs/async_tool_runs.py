"""The remote agent's tools as child runs of the model's run, with their retrievals as runs below them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForLLMRun,
    AsyncCallbackManagerForToolRun,
)

from chat_sessions.core.sources import DistinctSources
from chat_sessions.core.turn import RunBegan, RunEnded
from chat_sessions.langchain.runs.contexts import AsyncOpenRun
from chat_sessions.langchain.runs.tool_records import failure, inherited, retrieval, tool_input, tool_output

__all__ = ["AsyncToolRuns"]


class AsyncToolRuns:
    """The tool runs of one turn; none for a run of None."""

    def __init__(self, run: AsyncCallbackManagerForLLMRun | None) -> None:
        self._run = run
        self._children: AsyncCallbackManager | None = None
        self._open: dict[int, AsyncOpenRun[AsyncCallbackManagerForToolRun]] = {}
        self._sources = DistinctSources()

    async def note(self, update: RunBegan | RunEnded) -> None:
        """Start or end a tool run, before the reader gets the update."""
        if self._run is None:
            return
        if self._children is None:
            # Handlers that a context adds, such as that of `collect_runs`, are not inherited.
            self._children = AsyncCallbackManager.configure(AsyncCallbackManager(**inherited(self._run)))
        if isinstance(update, RunBegan):
            run = AsyncOpenRun(partial(self._children.on_tool_start, **tool_input(update.run)))
            self._open[update.number] = run
            await run.started()
        else:
            await self._end(update, failure(update))

    async def fail(self, ended: Iterable[RunEnded], error: BaseException) -> None:
        """End the runs that a turn left open with the error that ended it. They all end, even if a handler raises."""
        raised: BaseException | None = None
        for update in ended:
            try:
                await self._end(update, error)
            except BaseException as other:  # noqa: BLE001 - raised when all have ended
                raised = raised or other
        if raised is not None:
            raise raised

    async def _end(self, update: RunEnded, error: BaseException | None) -> None:
        run = self._open.pop(update.number, None)
        if run is None:
            # A handler raised when it began.
            return
        call_id = update.run.call_id
        if error is not None:
            await run.tell(lambda manager: manager.on_tool_error(error, tool_call_id=call_id))
            return
        assert update.event is not None  # noqa: S101 - a run without a result has an error
        output = tool_output(update.run, update.event)
        if update.run.sources:
            self._sources.add(update.run.sources)
            found = retrieval(update.run, [self._sources.named(source) for source in update.run.sources])

            async def tell(manager: AsyncCallbackManagerForToolRun) -> None:
                children = AsyncCallbackManager.configure(manager.get_child())
                retriever = await children.on_retriever_start(**found[0])
                await retriever.on_retriever_end(found[1])
                await manager.on_tool_end(output, name=update.run.name)

            await run.tell(tell)
        else:
            await run.tell(lambda manager: manager.on_tool_end(output, name=update.run.name))
