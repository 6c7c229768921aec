"""A turn as a run of the model: what its handlers are given, and its tokens, in every form that LangChain has."""
