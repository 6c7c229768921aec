"""A turn as it happens: the server's websocket, read until the run is over."""
