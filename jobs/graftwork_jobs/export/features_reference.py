"""What the features of a bundle's test examples are like, for endpoints to tell when what they see is different.

Of the test examples rather than the training's: a network's features of what it was trained on differ from those of new
examples of the same kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from graftwork.bundle.drift import FEWEST_EXAMPLES, DriftReference, drift_reference
from graftwork.bundle.feature_map import pooled_features
from graftwork.bundle.manifest import OPENVINO_MODEL_FILE
from graftwork.preprocess.image import ImageError, ImageSpec, decode_image
from graftwork.preprocess.inputs import InputSpec
from graftwork_jobs.export.golden import GoldenCandidate

# More say little more about means: their error falls with the square root.
_MOST_EXAMPLES = 400
_BATCH = 8
_THREADS = 2


def features_reference(
    candidates: Sequence[GoldenCandidate], inputs: InputSpec, locate: Callable[[str], Path], bundle: Path
) -> DriftReference | None:
    """The reference of a bundle; None for texts, networks without a feature map, and too few examples.

    Args:
        candidates: the test examples.
        inputs: what examples are brought to.
        locate: gives the local file of a URI.
        bundle: directory that holds the exported network.
    """
    if not isinstance(inputs, ImageSpec) or len(candidates) < FEWEST_EXAMPLES:
        return None
    features = pooled_features(bundle / OPENVINO_MODEL_FILE, threads=_THREADS)
    if features is None:
        return None
    chosen = np.linspace(0, len(candidates) - 1, min(len(candidates), _MOST_EXAMPLES)).round().astype(int)
    rows, batch = [], []
    for index in chosen:
        try:
            batch.append(decode_image(locate(candidates[index].input).read_bytes(), inputs))
        except ImageError:
            continue  # the test has counted and reported it
        if len(batch) == _BATCH:
            rows.append(features(np.stack(batch)))
            batch = []
    if batch:
        rows.append(features(np.stack(batch)))
    return drift_reference(np.concatenate(rows)) if rows else None
