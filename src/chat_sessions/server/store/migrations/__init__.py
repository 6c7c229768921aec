"""The store's schemas, one revision each, applied by `chat_sessions.server.store.schema` when a store is opened.

A new one is a file in `versions/`, `HEAD` and `_OLDER` in `schema.py`, and the tables in `tables.py`.
"""
