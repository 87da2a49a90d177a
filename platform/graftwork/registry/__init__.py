"""Versions, aliases and lineage of bundles; MLflow is behind it and stays invisible."""
