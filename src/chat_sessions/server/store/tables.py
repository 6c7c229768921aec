"""The tables of the store in the newest schema; `migrations/` upgrades older ones."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

__all__ = ["EventRow", "SessionRow", "SettingRow", "Table", "TurnRow"]

# Only in a column declared as INTEGER does SQLite count in 64 bits.
_Number = BigInteger().with_variant(Integer, "sqlite")


class Table(DeclarativeBase):
    """The base of all tables; they are in `metadata`."""


class SettingRow(Table):
    """A value that the store keeps about itself."""

    __tablename__ = "settings"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


class SessionRow(Table):
    """A session."""

    __tablename__ = "sessions"
    # The order of creation. A page token made of it stays valid when sessions come and go.
    number: Mapped[int] = mapped_column(_Number, primary_key=True, autoincrement=True)
    session_id: Mapped[str] = mapped_column(unique=True)
    last_updated_at: Mapped[str]
    generated_title: Mapped[str | None]
    index_ids: Mapped[str | None] = mapped_column(Text)
    job_metadata: Mapped[str | None] = mapped_column(Text)
    shared_access: Mapped[str | None]
    __table_args__ = ({"sqlite_autoincrement": True},)


class TurnRow(Table):
    """A turn. While it runs, `owner` is the number of the process that answers it."""

    __tablename__ = "turns"
    turn_id: Mapped[int] = mapped_column(_Number, primary_key=True, autoincrement=True)
    session_id: Mapped[str] = mapped_column(ForeignKey(SessionRow.session_id, ondelete="CASCADE"), index=True)
    running: Mapped[bool] = mapped_column(index=True)
    owner: Mapped[int | None] = mapped_column(BigInteger)
    __table_args__ = ({"sqlite_autoincrement": True},)


class EventRow(Table):
    """An event of a turn, in the order of `number`."""

    __tablename__ = "events"
    number: Mapped[int] = mapped_column(_Number, primary_key=True, autoincrement=True)
    session_id: Mapped[str] = mapped_column(ForeignKey(SessionRow.session_id, ondelete="CASCADE"))
    turn_id: Mapped[int] = mapped_column(ForeignKey(TurnRow.turn_id, ondelete="CASCADE"), index=True)
    type: Mapped[str]
    # Text and not a JSON type: a history must return the bytes that were streamed.
    body: Mapped[str] = mapped_column(Text)
    __table_args__ = (Index("events_in_order", "session_id", "turn_id", "number"),)
