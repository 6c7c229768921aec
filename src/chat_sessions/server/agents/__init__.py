"""The default agent, which needs no model, and an agent with a model."""
