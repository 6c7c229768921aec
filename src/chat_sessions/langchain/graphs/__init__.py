"""LangGraph's graphs as agents of a session."""
