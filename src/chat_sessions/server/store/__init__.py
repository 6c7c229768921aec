"""Sessions, turns and events in SQLite or PostgreSQL."""
