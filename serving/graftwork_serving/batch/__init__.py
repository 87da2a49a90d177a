"""All examples of a folder or table answered in one go, into a table; no endpoint, no Ray."""
