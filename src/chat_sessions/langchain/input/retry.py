"""`with_retry` of a session: each attempt has the same messages."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.retry import RunnableRetry
from typing_extensions import override

from chat_sessions.langchain.input.call import messages_of

__all__ = ["MessageRetry"]


class MessageRetry(RunnableRetry[LanguageModelInput, AIMessage]):
    """Reads the input once, so that a message that was sent is recognised and not sent again."""

    @override
    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        return super().invoke(messages_of(input), config, **kwargs)

    @override
    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        return await super().ainvoke(messages_of(input), config, **kwargs)

    @override
    def batch(self, inputs: list[LanguageModelInput], *args: Any, **kwargs: Any) -> list[AIMessage]:
        return super().batch([messages_of(each) for each in inputs], *args, **kwargs)

    @override
    async def abatch(self, inputs: list[LanguageModelInput], *args: Any, **kwargs: Any) -> list[AIMessage]:
        return await super().abatch([messages_of(each) for each in inputs], *args, **kwargs)
