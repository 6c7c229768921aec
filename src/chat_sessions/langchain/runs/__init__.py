"""A turn as a run of the model: what its handlers get, and its tokens, in every form that LangChain has."""
