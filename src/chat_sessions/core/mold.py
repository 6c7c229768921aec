"""Many pydantic objects that differ in a field or two, each for a third of what validating it costs.

A framework's object for one token is made for every token of an answer; validating it costs more
than all the rest of a token's way. So the first one is validated, and the others are made like it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Generic, TypeVar

from pydantic import BaseModel

__all__ = ["Mold"]

_Model = TypeVar("_Model", bound=BaseModel)
_set = object.__setattr__


class Mold(Generic[_Model]):
    """Objects like the first one, but for the fields given.

    What the class makes anew for each object (an id, a time, an empty list) is made anew here too,
    and its lists and dicts are copied. What these hold in turn, all objects share: it must not change.
    """

    def __init__(self, first: _Model) -> None:
        self._class = type(first)
        self._values = dict(vars(first))
        self._given = frozenset(first.model_fields_set)
        self._extra, self._private = first.__pydantic_extra__, first.__pydantic_private__
        self._anew: list[tuple[str, Callable[[], object]]] = []
        factories = _factories(self._class)
        for name, value in self._values.items():
            if name in factories and name not in self._given:
                self._anew.append((name, factories[name]))
            elif isinstance(value, list | dict):
                self._anew.append((name, value.copy))

    def cast(self, **fields: object) -> _Model:
        """A new object with these fields, whose values validation would leave as they are."""
        values = {**self._values, **fields}
        for name, make in self._anew:
            if name not in fields:
                values[name] = make()
        # What `BaseModel.__copy__` does, without the three copies that it makes on the way.
        made = self._class.__new__(self._class)
        _set(made, "__dict__", values)
        _set(made, "__pydantic_fields_set__", {*self._given, *fields})
        _set(made, "__pydantic_extra__", None if self._extra is None else self._extra.copy())
        _set(made, "__pydantic_private__", None if self._private is None else self._private.copy())
        return made


@lru_cache(maxsize=64)
def _factories(model: type[BaseModel]) -> dict[str, Callable[[], object]]:
    """The defaults that a class makes anew for each object, by field."""
    return {
        name: field.default_factory  # type: ignore[misc]  # it takes no argument, as just asked
        for name, field in model.model_fields.items()
        if field.default_factory is not None and not field.default_factory_takes_validated_data
    }
