"""`configurable_fields` of a session: each call has a model of its own, and all of them remember the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.configurable import RunnableConfigurableFields
from typing_extensions import override

from chat_sessions.langchain.input.retry import MessageRetry

if TYPE_CHECKING:
    from chat_sessions.langchain.chat_model import SessionChatModel

    _Fields: TypeAlias = RunnableConfigurableFields[LanguageModelInput, AIMessage]
else:
    # pydantic would want a model that inherits from the base class with the same type arguments.
    _Fields = RunnableConfigurableFields

__all__ = ["ConfigurableModel"]


class ConfigurableModel(_Fields):
    """Makes a model for each call, which remembers what those of earlier calls sent."""

    @classmethod
    def lc_id(cls) -> list[str]:
        """Return the id of LangChain's class, which a dump is loaded as."""
        return RunnableConfigurableFields.lc_id()

    @override
    def prepare(
        self, config: RunnableConfig | None = None
    ) -> tuple[Runnable[LanguageModelInput, AIMessage], RunnableConfig]:
        made, config = super().prepare(config)
        first = cast("SessionChatModel", self.default)
        cast("SessionChatModel", made)._sessions = first._sessions  # pyright: ignore[reportPrivateUsage] - of this package
        return made, config

    @override
    def with_retry(self, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        return MessageRetry(**vars(super().with_retry(**kwargs)))
