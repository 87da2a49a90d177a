"""How far what a network sees now is from what it was tested on, told from its features. Pure.

Features are projected on a few fixed random directions, which keep distances well enough (Johnson and Lindenstrauss)
and need no fitting; of each direction the mean and the standard deviation in the reference are kept. Drift is the mean
over the directions of the squared difference of means, in its standard errors: 1 is what chance alone gives, however
many examples there are. That is Dempster's test of two means in high dimension without its scaling (Bai and Saranadasa
1996, "Effect of high dimension: by an example of a two sample problem"). On 109 drawings a side it gave 0.8 to 1.3 for
drawings of the same vendor and 2.3 to 3.0 for another's; the largest Kolmogorov-Smirnov distance of a direction told
them apart less well.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

DIRECTIONS: Final = 64
FEWEST_EXAMPLES: Final = 50
"""With fewer, the reference says little about its own spread."""
_LEAST_DEVIATION: Final = 1e-6


class DriftReference(BaseModel):
    """What the features of a network's test examples are like."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    examples: Annotated[int, Field(ge=2)]
    """How many examples it was taken from."""
    features: Annotated[int, Field(ge=1)]
    """How many features the network's last map has when pooled."""
    means: Annotated[list[float], Field(min_length=1)]
    """Mean of each direction."""
    deviations: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]
    """Standard deviation of each direction."""


def project(features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Features, shape (examples, features), on the fixed directions, shape (examples, DIRECTIONS)."""
    return np.asarray(features @ _directions(features.shape[1]), np.float64)


def drift_reference(features: NDArray[np.float32]) -> DriftReference | None:
    """The reference of some examples' features, shape (examples, features); None if there are too few."""
    if len(features) < FEWEST_EXAMPLES:
        return None
    projected = project(features)
    deviations = np.maximum(projected.std(axis=0, ddof=1), _LEAST_DEVIATION)
    return DriftReference(
        examples=len(features),
        features=features.shape[1],
        means=projected.mean(axis=0).tolist(),
        deviations=deviations.tolist(),
    )


def drift(reference: DriftReference, projected: NDArray[np.float64]) -> float:
    """How far examples are from the reference; about 1 for examples of the same kind.

    Args:
        reference: of the network.
        projected: the examples, from `project`, shape (examples, DIRECTIONS).
    """
    error = np.asarray(reference.deviations) * np.sqrt(1 / reference.examples + 1 / len(projected))
    return float(np.mean(((projected.mean(axis=0) - np.asarray(reference.means)) / error) ** 2))


@cache
def _directions(features: int) -> NDArray[np.float64]:
    # RandomState's numbers are the same in every version of NumPy; those of its successor may change.
    random = np.random.RandomState(0)
    return np.asarray(random.standard_normal((features, DIRECTIONS)) / np.sqrt(features), np.float64)
