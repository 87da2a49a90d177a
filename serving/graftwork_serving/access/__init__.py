"""Who may ask an endpoint, for which models, and how often. Protocols hand in headers and get a caller or a refusal."""
