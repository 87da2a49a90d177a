"""Folders and tables of examples, local or remote: what they list and where a local copy is. Knows no training."""
