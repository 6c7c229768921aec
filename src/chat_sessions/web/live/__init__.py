"""Turns as they happen: running them, and sending their changes to each open page."""
