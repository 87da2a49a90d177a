"""Versions of models whose scores are chosen by the test; no engine, no bundle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graftwork.bundle.answers import Answers, ScoreAnswers
from graftwork.preprocess.image import ImageSpec
from graftwork.spec.engine import EngineName
from graftwork_serving.inputs import PictureReader
from graftwork_serving.served_model import ServedModel


class FixedEngine:
    """Says the same of every example.

    Args:
        scores: what.
    """

    name: EngineName = "openvino"
    batch_size = 4

    def __init__(self, scores: Sequence[float]) -> None:
        self._scores = np.asarray(scores, np.float32)
        self.asked = 0

    def predict(self, batch: np.ndarray, *, alone: bool = False) -> np.ndarray:
        del alone
        self.asked += len(batch)
        return np.tile(self._scores, (len(batch), 1))


def version(
    number: str,
    *,
    name: str = "m",
    alias: str | None = None,
    scores: Sequence[float] = (0.5, 0.5),
    answers: Answers | None = None,
    side: int = 4,
) -> ServedModel:
    """A version of a model."""
    return ServedModel(
        name=name,
        version=number,
        digest=f"digest of {number}",
        answers=answers or ScoreAnswers(("no", "yes")),
        reader=PictureReader(spec=ImageSpec(height=side, width=side), max_pixels=10_000),
        engine=FixedEngine(scores),
        golden_difference=0.0,
        alias=alias,
    )
