"""One turn on its way to its readers."""
