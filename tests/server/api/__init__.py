"""The Chat API of the local server, over real sockets."""
