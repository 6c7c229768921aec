"""From a call of the model to the turn that it is: what is sent, and to which session."""
