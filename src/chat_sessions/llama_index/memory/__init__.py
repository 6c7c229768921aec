"""Sessions as LlamaIndex memory."""
