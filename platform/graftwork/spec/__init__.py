"""The objects of spec files: their models, loading, checking and JSON Schema."""
