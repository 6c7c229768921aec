"""A server under mixed clients, kills and restarts, for as long as one likes."""
