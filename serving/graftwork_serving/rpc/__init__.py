"""The gRPC side of an endpoint: messages, translation, servicer, server."""
