"""The Chat API as an ASGI application: routes, bodies, errors, keys, attachments and the event stream."""
