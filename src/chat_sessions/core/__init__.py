"""Events, turns and decisions, with no I/O: standard library and pydantic only."""
