"""What two versions of a model say of the same examples, side by side. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from graftwork.bundle.answers import LabelAnswers, NumberAnswers, ScoreAnswers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graftwork_serving.served_model import ServedModel

# Numbers this close, in standard deviations of the training data, count as the same answer.
SAME_NUMBER_DEVIATIONS = 0.1


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two versions' answers to the same examples.

    Attributes:
        agrees: whether each example gets the same answer: the same likeliest label, the same labels given, or numbers
            within a tenth of a standard deviation; shape (examples,), bool.
        differences: largest difference of a score of each example, or of a number in standard deviations, shape
            (examples,), float32; None where the versions have other labels.
    """

    agrees: NDArray[np.bool_]
    differences: NDArray[np.float32] | None


def compare(
    first: ServedModel, scores: NDArray[np.float32], second: ServedModel, others: NDArray[np.float32]
) -> Comparison | None:
    """Compare what two versions say; None if they do not predict the same kind of thing.

    Args:
        first: one version.
        scores: what it said, shape (examples, labels).
        second: the other.
        others: what that said, shape (examples, its labels).
    """
    differences = None
    if first.answers.labels == second.answers.labels:
        scaled = np.abs(scores - others) / np.asarray(first.answers.scales, np.float32)
        differences = scaled.max(axis=1)
    match first.answers, second.answers:
        case ScoreAnswers(), ScoreAnswers():
            pairs = zip(scores.argmax(axis=1).tolist(), others.argmax(axis=1).tolist(), strict=True)
            agrees = [first.answers.labels[one] == second.answers.labels[other] for one, other in pairs]
        case LabelAnswers(), LabelAnswers():
            rows = zip(scores, others, strict=True)
            agrees = [set(first.answers.given(one)) == set(second.answers.given(other)) for one, other in rows]
        case NumberAnswers(), NumberAnswers() if differences is not None:
            agrees = (differences <= SAME_NUMBER_DEVIATIONS).tolist()
        case _:
            return None
    return Comparison(agrees=np.asarray(agrees, bool), differences=differences)
