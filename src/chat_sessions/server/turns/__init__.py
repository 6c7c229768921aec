"""Turns as they run: the agent protocol, limits, behaviour, and turns whose process has gone."""
