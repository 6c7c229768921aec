"""The chat methods of the engine, and the trace of each turn."""

from __future__ import annotations

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager
from llama_index.core.chat_engine.types import AgentChatResponse

from chat_sessions.llama_index.answers.answer import Answer
from chat_sessions.llama_index.answers.async_answer import AsyncAnswer
from chat_sessions.llama_index.answers.response import StreamingSessionResponse
from chat_sessions.llama_index.memory.history import ChatHistoryPolicy, check_history
from chat_sessions.llama_index.memory.session_memory import SessionMemory
from chat_sessions.llama_index.messages import prompt_of
from chat_sessions.llama_index.traces.turn_trace import TurnTrace
from chat_sessions.session.async_chat_session import AsyncChatSession
from chat_sessions.session.backend import Backend
from chat_sessions.session.chat_session import ChatSession

__all__ = ["Conversation"]


class Conversation:
    """The chat methods of the engine, in a base of their own.

    LlamaIndex wraps the methods that a chat engine's own class defines in spans that end when the method returns, when
    a stream has only begun. So they are inherited, and `TurnTrace` opens and closes a turn's trace by hand.
    """

    callback_manager: CallbackManager
    _memory: SessionMemory
    _on_chat_history: ChatHistoryPolicy
    _wait_if_busy: bool | float | None

    @property
    def client(self) -> Backend:
        """The backend's client."""
        return self._memory.client

    @property
    def session(self) -> ChatSession:
        """The session that the next turn goes to."""
        return self._memory.session

    @property
    def session_id(self) -> str | None:
        """The session's id; None until it is created, at the first turn."""
        return self._memory.session.id

    @property
    def memory(self) -> SessionMemory:
        """The session as memory; to reset one is to reset the other."""
        self._memory.note()
        return self._memory

    @property
    def chat_history(self) -> list[ChatMessage]:
        """The session's messages, read from the service at each access. Raises `APIError`."""
        return self._memory.get_all()

    async def achat_history(self) -> list[ChatMessage]:
        """The session's messages, read from the service. Raises `APIError`."""
        return await self._memory.aget_all()

    def chat(
        self,
        message: str | ChatMessage,
        chat_history: list[ChatMessage] | None = None,
        *,
        wait_if_busy: bool | float | None = None,
    ) -> AgentChatResponse:
        """Return the whole answer, with `sources`, `source_nodes` and `metadata`.

        Besides its text, a `ChatMessage` may hold images (`ImageBlock`), for a service that takes them. `wait_if_busy`
        is as for the engine, for this turn alone.
        Raises `APIError` if the turn could not be sent, and a `TurnError`, with the turn so far on it,
        if it did not end well.
        """
        return self._begin("chat", message, chat_history, wait_if_busy).read()

    async def achat(
        self,
        message: str | ChatMessage,
        chat_history: list[ChatMessage] | None = None,
        *,
        wait_if_busy: bool | float | None = None,
    ) -> AgentChatResponse:
        """Return the whole answer. See `chat`."""
        answer = await self._abegin("achat", message, chat_history, wait_if_busy)
        return await answer.read()

    def stream_chat(
        self,
        message: str | ChatMessage,
        chat_history: list[ChatMessage] | None = None,
        *,
        wait_if_busy: bool | float | None = None,
    ) -> StreamingSessionResponse:
        """Return the answer as it arrives. The prompt is sent before this returns: `APIError` is raised here."""
        return StreamingSessionResponse(self._begin("stream_chat", message, chat_history, wait_if_busy))

    async def astream_chat(
        self,
        message: str | ChatMessage,
        chat_history: list[ChatMessage] | None = None,
        *,
        wait_if_busy: bool | float | None = None,
    ) -> StreamingSessionResponse:
        """Return the answer as it arrives. The prompt is sent before this returns: `APIError` is raised here."""
        return StreamingSessionResponse(await self._abegin("astream_chat", message, chat_history, wait_if_busy))

    def reset(self) -> None:
        """Begin a new session with the next turn. The old one stays on the service. See `SessionMemory.reset`."""
        self._memory.reset()

    def _begin(
        self,
        method: str,
        message: str | ChatMessage,
        chat_history: list[ChatMessage] | None,
        wait_if_busy: bool | float | None,
    ) -> Answer:
        prompt, images = self._asked(message)
        if chat_history:
            check_history(self._on_chat_history, chat_history, self.chat_history, self.session_id, stacklevel=4)
        elif chat_history is not None:
            self.reset()
        session, wait = self.session, self._wait(wait_if_busy)
        answer = Answer.prepare(
            session, prompt, lambda: self._trace(method, prompt, session), images=images, wait_if_busy=wait
        )
        answer.send()
        self._memory.note()
        return answer

    async def _abegin(
        self,
        method: str,
        message: str | ChatMessage,
        chat_history: list[ChatMessage] | None,
        wait_if_busy: bool | float | None,
    ) -> AsyncAnswer:
        prompt, images = self._asked(message)
        if chat_history:
            own = await self.achat_history()
            check_history(self._on_chat_history, chat_history, own, self.session_id, stacklevel=4)
        elif chat_history is not None:
            await self._memory.areset()
        session, wait = self.session.aio, self._wait(wait_if_busy)
        answer = await AsyncAnswer.prepare(
            session, prompt, lambda: self._trace(method, prompt, session), images=images, wait_if_busy=wait
        )
        await answer.send()
        self._memory.note()
        return answer

    def _asked(self, message: str | ChatMessage) -> tuple[str, tuple[str, ...]]:
        prompt, images = prompt_of(message)
        if images:
            self.client.check_images()
        return prompt, images

    def _wait(self, wait_if_busy: bool | float | None) -> bool | float | None:
        return self._wait_if_busy if wait_if_busy is None else wait_if_busy

    def _trace(self, method: str, message: str, session: ChatSession | AsyncChatSession) -> TurnTrace:
        return TurnTrace(self, method, message, session, self.callback_manager)
