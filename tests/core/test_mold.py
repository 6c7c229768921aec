"""Objects made from a mold are as if each had been validated by itself."""

from __future__ import annotations

from itertools import count

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from chat_sessions.core.mold import Mold

numbers = count()


class Token(BaseModel):
    model_config = ConfigDict(extra="allow")

    text: str
    number: int = Field(default_factory=lambda: next(numbers))
    tags: list[str] = []
    _note: str = PrivateAttr(default="")


class Plain(BaseModel):
    text: str


def test_what_a_class_makes_anew_is_made_anew_unless_it_is_given() -> None:
    mold = Mold(Token(text="first"))
    one, two = mold.cast(text="a"), mold.cast(text="b")
    assert one.number < two.number
    given = mold.cast(text="c", number=-1, tags=["t"])
    assert (given.number, given.tags) == (-1, ["t"])
    assert given.model_fields_set == {"text", "number", "tags"}
    assert Mold(Token(text="first", number=-2)).cast(text="d").number == -2


def test_what_is_changed_in_one_object_is_not_changed_in_another() -> None:
    mold = Mold(Token.model_validate({"text": "first", "tags": ["t"], "colour": "red"}))
    one, two = mold.cast(text="a"), mold.cast(text="b")
    one.tags.append("more")
    one._note = "mine"
    one.__pydantic_extra__["size"] = 1  # type: ignore[index]
    assert (two.tags, two._note, two.model_extra) == (["t"], "", {"colour": "red"})


def test_an_object_of_a_class_with_nothing_to_copy_equals_a_validated_one() -> None:
    assert Mold(Plain(text="first")).cast(text="a") == Plain(text="a")
