"""Versions, aliases and lineage of bundles; MLflow is behind it and stays invisible."""

from graftwork.registry.store import Registry

__all__ = ["Registry"]
