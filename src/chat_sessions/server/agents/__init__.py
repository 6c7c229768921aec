"""The default agent, which needs no model."""
