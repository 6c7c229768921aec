"""What the backends that speak HTTP share: requests as values, errors, and a connection pool per event loop."""

import logging

# Without a logging configuration, Python would print stamina's message on each retry to stderr.
logging.getLogger("stamina").addHandler(logging.NullHandler())
