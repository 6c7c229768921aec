"""One turn as spans and events and as legacy callbacks, with stand-ins for the hosted agent and its tools."""
