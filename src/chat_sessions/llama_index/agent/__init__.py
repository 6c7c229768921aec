"""A session as an agent in LlamaIndex workflows."""
