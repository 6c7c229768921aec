"""What the server's events are in a turn, and in a history. No I/O."""
