"""Our own connections, made for streams: an httpx transport on httpcore, with sockets that heed event deadlines."""
