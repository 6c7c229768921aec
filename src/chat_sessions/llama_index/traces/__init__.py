"""One turn as spans and events, and as legacy callbacks; what stands for the hosted agent and its tools in them."""
