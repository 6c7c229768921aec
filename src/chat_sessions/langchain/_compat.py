"""Names of langchain-core and pydantic beyond their public API, each with the reason.

Read from langchain-core 1.7.0 to 1.8.4 and pydantic 2.11 to 2.14. `tests/langchain/runs/test_compat.py` fails when one
of these changes.

- `langchain_core.tracers._streaming`: the two classes that mark a handler that wants the pieces of an answer from a
  plain `invoke`. The handlers of `astream_events` and of LangGraph's streams do, and nothing public distinguishes them.
  Without this a graph shows an answer only when it is complete.
- `__pydantic_fields_set__`, `__pydantic_extra__`, `__pydantic_private__`: attributes that pydantic documents as its
  own. Setting them makes a token's object at a third of the cost of validation, and half of `model_copy`. Without this,
  tokens are correct but slower.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import Any, Generic, Self, TypeVar

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers._streaming import (
    _StreamingCallbackHandler,  # pyright: ignore[reportPrivateUsage]
    _V2StreamingCallbackHandler,  # pyright: ignore[reportPrivateUsage]
)
from pydantic import BaseModel

__all__ = ["Mold", "wants_protocol_events", "wants_tokens"]

_Model = TypeVar("_Model", bound=BaseModel)
_set_values, _set_names, _set_extra, _set_private = (
    BaseModel.__dict__[name].__set__
    for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)


def wants_tokens(handlers: Iterable[BaseCallbackHandler]) -> bool:
    """Whether a handler wants the tokens of an answer that is not streamed."""
    return any(isinstance(handler, _StreamingCallbackHandler) for handler in handlers)


def wants_protocol_events(handlers: Iterable[BaseCallbackHandler]) -> bool:
    """Whether a handler wants such an answer as content-block protocol events instead."""
    return any(isinstance(handler, _V2StreamingCallbackHandler) for handler in handlers)


class Mold(Generic[_Model]):
    """Makes objects like the first one, except for the given fields, which the first one must have set too.

    Each object has its own lists and dicts, copied one level deep from the first object. All objects share everything
    else.
    """

    def __init__(self, first: _Model) -> None:
        self._new = type(first).__new__
        self._class = type(first)
        self._values = dict(vars(first))
        self._fields_set = set(first.model_fields_set)
        self._extra = first.__pydantic_extra__
        self._copied = [(name, value.copy) for name, value in self._values.items() if isinstance(value, list | dict)]

    def like(self, **fields: Any) -> Self:
        """Return a mold whose objects have these fields, which the first object must have set too."""
        made = copy(self)
        made._values = self._values | fields
        return made

    def cast(self, **fields: Any) -> _Model:
        """Make an object with these fields. They are not validated."""
        values = self._values.copy()
        for name, copied in self._copied:
            values[name] = copied()
        values |= fields
        made = self._new(self._class)
        _set_values(made, values)
        _set_names(made, self._fields_set.copy())
        _set_extra(made, None if self._extra is None else self._extra.copy())
        _set_private(made, None)
        return made
