"""LlamaIndex's workflows as agents of a session."""
