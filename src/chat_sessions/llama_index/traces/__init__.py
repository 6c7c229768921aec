"""One turn as spans and events, and as legacy callbacks."""
