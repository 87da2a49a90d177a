"""The page at an endpoint's root where a person tries its models: one document that loads nothing from elsewhere."""
