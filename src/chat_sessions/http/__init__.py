"""What the backends that speak HTTP share: requests as values, errors, and a connection pool per event loop."""

import logging

# Without a logging configuration, Python would print stamina's message on each retry to stderr.
for _name in ("stamina", "chat_sessions.http"):
    logging.getLogger(_name).addHandler(logging.NullHandler())
