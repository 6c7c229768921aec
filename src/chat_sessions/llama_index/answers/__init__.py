"""The answer of one turn, for its readers."""
