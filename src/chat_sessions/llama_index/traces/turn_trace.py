"""The trace of one turn: spans of LlamaIndex's instrumentation, and events of its legacy callbacks.

The stock decorator ends a span when the method returns, when a stream has only begun. So a turn's trace is opened and
closed by hand.
"""

from __future__ import annotations

from llama_index.core.base.llms.types import ChatResponse
from llama_index.core.callbacks import CallbackManager
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.tools import ToolOutput

from chat_sessions.core.turn import RunBegan, RunEnded
from chat_sessions.llama_index.traces.hosted import HostedToolError, hosted_model
from chat_sessions.llama_index.traces.turn_callbacks import TurnCallbacks
from chat_sessions.llama_index.traces.turn_spans import TurnSpans
from chat_sessions.session.async_chat_session import AsyncChatSession
from chat_sessions.session.chat_session import ChatSession

__all__ = ["TurnTrace"]


class TurnTrace:
    """The trace of a turn that is about to be sent, open until `end` or `fail`, one of which is called once.

    `is_heard` says whether any handler gets events; if not, pieces of text need not be sent. Errors of legacy handlers
    come out of every method but `fail`.
    """

    def __init__(
        self,
        instance: object,
        method: str,
        prompt: str,
        session: ChatSession | AsyncChatSession,
        manager: CallbackManager,
    ) -> None:
        model = hosted_model(session.client.service, session.index_ids, session.id)
        self._spans = TurnSpans(instance, method, prompt, model)
        self.is_heard = self._spans.is_heard
        try:
            self._callbacks = TurnCallbacks(manager, prompt, model)
        except BaseException as error:
            self._spans.fail(error)
            raise

    def text(self, piece: str) -> None:
        """Send a piece of the answer."""
        self._spans.text(piece)

    def run_began(self, began: RunBegan) -> None:
        """Open a tool run."""
        self._spans.run_began(began)
        self._callbacks.run_began(began)

    def run_ended(self, ended: RunEnded, output: ToolOutput, error: BaseException | None) -> None:
        """Close a tool run, as an error if there is one or the result is one."""
        if error is None and output.is_error:
            error = HostedToolError(output.content)
        self._spans.run_ended(ended, output, error)
        self._callbacks.run_ended(ended, output, error)

    def end(self, response: AgentChatResponse, chat_response: ChatResponse) -> None:
        """End the trace: the turn has ended well, and its tool runs are closed."""
        self._spans.end(response, chat_response)
        self._callbacks.end(chat_response)

    def fail(self, error: BaseException, partial: ChatResponse | None = None) -> None:
        """End the trace with this error and the answer so far. The turn's tool runs are closed."""
        self._spans.fail(error, partial)
        self._callbacks.fail(error, partial)
