"""What an endpoint notes of what it is asked and says: the prediction log, and drift. No I/O here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from graftwork.spec.base import SpecModel, Text


class PredictionLog(SpecModel):
    """Predictions kept in Parquet files, and what was right where clients tell (`POST .../feedback`)."""

    path: Text
    """Directory to write to; on Kubernetes one of a mounted volume. Replicas may share it."""
    sample: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the requests that are kept."""
    inputs: bool = False
    """Keep the pictures and texts themselves, too. They may be personal data: make sure that you may."""
    max_bytes: Annotated[int, Field(ge=1_048_576)] = 1_073_741_824
    """The oldest files are removed when the directory holds more bytes than that."""


class Drift(SpecModel):
    """How far pictures that come are from those of the test: `graftwork_feature_drift`, about 1 for the same kind."""

    sample: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Share of the pictures that are looked at; each costs one more pass through the network, beside the requests."""
    window: Annotated[int, Field(ge=50, le=10_000)] = 500
    """How many of the newest pictures each replica compares. The more, the smaller a difference can be told."""
