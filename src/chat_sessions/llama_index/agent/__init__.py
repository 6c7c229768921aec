"""A session as an agent of LlamaIndex's workflows."""
