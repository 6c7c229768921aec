"""Schema 2: which process answers a running turn, for several processes on one store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Adds the owner, and the index that the deletion of a turn needs."""
    op.add_column("turns", sa.Column("owner", sa.BigInteger))
    op.create_index("ix_events_turn_id", "events", ["turn_id"])
    # Read by the versions that know schema 1 alone: they refuse the database instead of breaking it.
    op.execute("UPDATE settings SET value = '2' WHERE name = 'schema_version'")
