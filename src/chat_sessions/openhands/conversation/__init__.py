"""A conversation: its turns, and what it has besides them: run, settings, branches, files."""
