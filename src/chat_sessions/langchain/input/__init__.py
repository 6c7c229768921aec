"""From a call of the model to a turn: what is sent, and to which session."""
