"""Estimate tokens, since the service does not say which model answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.messages.utils import count_tokens_approximately
from typing_extensions import override

__all__ = ["TokenEstimates"]

# Characters per token in most European languages; LangChain's own default.
_CHARACTERS = 4.0


class TokenEstimates(BaseChatModel):
    """Counts tokens by LangChain's estimate, unless the model has `custom_get_token_ids`.

    The base class would count those of GPT-2, and needs `transformers` for that.
    """

    @override
    def get_num_tokens(self, text: str) -> int:
        """Return about how many tokens a text has."""
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens(text)
        return math.ceil(len(text) / _CHARACTERS)

    @override
    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Return about how many tokens these messages have, as `trim_messages(token_counter=model)` asks."""
        if self.custom_get_token_ids is not None:
            return super().get_num_tokens_from_messages(messages, tools)
        return count_tokens_approximately(messages, chars_per_token=_CHARACTERS)

    @override
    def get_token_ids(self, text: str) -> list[int]:
        """Raise `NotImplementedError`, unless the model has `custom_get_token_ids`."""
        if self.custom_get_token_ids is not None:
            return super().get_token_ids(text)
        raise NotImplementedError(
            "token ids are not available: the service chooses the model. get_num_tokens estimates the number of "
            "tokens; pass custom_get_token_ids= to count them your way"
        )
