"""Graftwork: transfer learning as a platform."""

__version__ = "0.1.0"
