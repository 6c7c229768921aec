"""Tests on a real PostgreSQL, whose URL is in CHAT_SESSIONS_POSTGRES_URL; its role must be able to create databases."""
