"""What the server does for a client is the same on PostgreSQL: the tests of the API, on another store."""

from __future__ import annotations

from tests.server.postgresql import require_postgresql

require_postgresql()

from tests.server.api.test_sessions import *  # noqa: E402, F403 (each of its tests)
from tests.server.api.test_streaming import *  # noqa: E402, F403
