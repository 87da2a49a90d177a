"""HTTP: the ASGI application and the protocols it speaks."""
