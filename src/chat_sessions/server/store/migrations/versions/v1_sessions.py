"""Schema 1: sessions, turns and events, as the first version of the package made them on SQLite."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None

_number = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "settings",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("number", _number, primary_key=True, autoincrement=True),
        sa.Column("session_id", sa.String, nullable=False, unique=True),
        sa.Column("last_updated_at", sa.String, nullable=False),
        sa.Column("generated_title", sa.String),
        sa.Column("index_ids", sa.Text),
        sa.Column("job_metadata", sa.Text),
        sa.Column("shared_access", sa.String),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "turns",
        sa.Column("turn_id", _number, primary_key=True, autoincrement=True),
        sa.Column(
            "session_id",
            sa.String,
            sa.ForeignKey("sessions.session_id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("running", sa.Boolean, nullable=False, index=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "events",
        sa.Column("number", _number, primary_key=True, autoincrement=True),
        sa.Column("session_id", sa.String, sa.ForeignKey("sessions.session_id", ondelete="CASCADE"), nullable=False),
        sa.Column("turn_id", _number, sa.ForeignKey("turns.turn_id", ondelete="CASCADE"), nullable=False),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("events_in_order", "events", ["session_id", "turn_id", "number"])
    op.execute("INSERT INTO settings (name, value) VALUES ('schema_version', '1')")
