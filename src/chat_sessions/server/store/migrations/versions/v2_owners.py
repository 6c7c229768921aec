"""Schema 2: which process answers a running turn, for several processes on one store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Add the owner, and the index that deleting a turn needs."""
    op.add_column("turns", sa.Column("owner", sa.BigInteger))
    op.create_index("ix_events_turn_id", "events", ["turn_id"])
    # Versions that know only schema 1 read this, and refuse the database instead of breaking it.
    op.execute("UPDATE settings SET value = '2' WHERE name = 'schema_version'")
