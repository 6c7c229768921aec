"""Rendering: turns as blocks, Markdown as safe HTML, errors as advice."""
