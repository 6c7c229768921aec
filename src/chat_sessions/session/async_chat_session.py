"""A session: ask it, stream its turns, read its history.

It is created at the first send, and counts its turns, so that a broken stream can be looked up with certainty.
"""

from __future__ import annotations

from collections.abc import Sequence

from chat_sessions.core.delivery import asked
from chat_sessions.core.errors import APIStatusError, APITimeoutError, AuthenticationError, ProtocolError
from chat_sessions.core.events import Session
from chat_sessions.core.images import ImageInput, image_urls
from chat_sessions.core.models import SessionSummary, TitledSummary
from chat_sessions.core.turn import Turn, replay
from chat_sessions.session.async_turn_stream import AsyncTurnStream
from chat_sessions.session.backend import AnotherSession, check_same
from chat_sessions.session.session_state import AsyncSessionState, first_prompt
from chat_sessions.session.stored.busy import check_wait
from chat_sessions.session.turn_queue import async_wait_for_turn
from chat_sessions.session.turn_state import PreparedTurn

__all__ = ["AsyncChatSession"]


class AsyncChatSession(AsyncSessionState):
    """A session of any backend, made by a client's `session()`. May be used from several threads and tasks."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, index_ids={self.index_ids!r}, service={self.client.service!r})"

    async def create(self) -> str:
        """Create the session if it does not exist yet; returns its id."""
        if self._facts.id is None:
            slot = await async_wait_for_turn(self._facts.creation, "the creation of this session")
            try:
                if self._facts.id is None:
                    # A slow creation must not count as a turn that was left unread.
                    slot.begin_read()
                    index_ids = self._facts.index_ids or self.client.index_ids
                    self._created(await self.client.create(index_ids=index_ids))
            finally:
                slot.release()
        return self._known_id()

    def stream(
        self,
        prompt: str,
        *,
        index_ids: Sequence[str] | None = None,
        require_all_indexes: bool = False,
        wait_if_busy: bool | float | None = None,
        images: Sequence[ImageInput] = (),
    ) -> AsyncTurnStream:
        """Return one turn as a stream, sent when the stream is entered.

        `index_ids` of the call come before the session's own, and those before the client's. Raises
        `ConfigurationError` at once for a prompt that the service would refuse, and for a first turn without an index.
        `wait_if_busy` is as for `session`, for this turn alone. `images` go with the prompt, each an address
        (`https://`, `data:image/`) or bytes, where the service takes images; then the prompt may be "".
        """
        pictures = image_urls(images)
        if pictures:
            self.client.check_images()
        self.client.check_turn(prompt, index_ids, has_images=bool(pictures))
        wait = self._facts.wait_if_busy if wait_if_busy is None else wait_if_busy
        check_wait(wait)
        wanted = None if index_ids is None else tuple(index_ids)
        self._check_indexes(wanted)

        async def prepare() -> PreparedTurn:
            await self.create()
            return self._prepared(prompt, require_all_indexes, pictures)

        async def complete(prepared: PreparedTurn) -> PreparedTurn:
            was_read = self._needs_baseline() and await self._count_turns()
            indexes = self._indexes(wanted)
            if indexes is None:
                if not was_read:
                    self._adopt(await self.client.get_summary(self._known_id()))
                indexes = self._facts.index_ids or self.client.index_ids
            return self._with_indexes(prepared, indexes)

        return AsyncTurnStream(
            self.client.transport,
            prepare,
            complete,
            prompt=prompt,
            timeouts=self.client.timeouts,
            wait_if_busy=wait,
            image_urls=pictures,
        )

    async def _count_turns(self) -> bool:
        """Count the turns before the next one; returns whether the session could be read.

        A session that cannot be read now could not be looked up later either, so the turn continues uncounted. If there
        is no such session, the service refuses the turn.
        """
        try:
            self._has_counted(await self.client.retrieve(self._known_id()))
        except (AnotherSession, AuthenticationError):
            raise
        except (APIStatusError, APITimeoutError, ProtocolError):
            self._count().is_unreadable = True
            return False
        return True

    async def ask(
        self,
        prompt: str,
        *,
        index_ids: Sequence[str] | None = None,
        require_all_indexes: bool = False,
        wait_if_busy: bool | float | None = None,
        images: Sequence[ImageInput] = (),
    ) -> Turn:
        """Return one whole turn; the arguments are those of `stream`. Raises what `AsyncTurnStream` raises."""
        async with self.stream(
            prompt,
            index_ids=index_ids,
            require_all_indexes=require_all_indexes,
            wait_if_busy=wait_if_busy,
            images=images,
        ) as stream:
            return await stream.result()

    async def retrieve(self) -> Session:
        """Return the session with its events."""
        session_id, count = self._known_id(), self._count()
        reading = count.reading()
        session = await self.client.retrieve(session_id)
        check_same(session_id, session.session_id)
        count.read(reading, len(asked(replay(session.events))))
        self._adopt(session)
        return session

    async def turns(self) -> list[Turn]:
        """Return the turns so far, oldest first, read from the service; empty for a session not created yet."""
        if self._facts.id is None:
            return []
        session = await self.retrieve()
        return replay(session.events)

    async def summary(self) -> SessionSummary:
        """Return the session's summary."""
        summary = await self.client.get_summary(self._known_id())
        self._adopt(summary)
        return summary

    async def set_title(self, first_message: str | None = None) -> TitledSummary:
        """Generate a title from `first_message`, by default the session's first prompt."""
        message = first_message or first_prompt(await self.turns())
        return await self.client.set_title(self._known_id(), first_message=message)

    async def delete(self) -> None:
        """Delete the session on the service; it cannot be undone."""
        await self.client.delete(self._known_id())
