"""Where a command asks: which service, which folders, which store."""
