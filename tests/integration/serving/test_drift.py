"""Drift on real drawings: other vendors draw differently, and the endpoint can tell."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from graftwork.bundle.drift import drift, project
from graftwork.bundle.feature_map import pooled_features
from graftwork.bundle.manifest import OPENVINO_MODEL_FILE
from graftwork.preprocess.image import ImageSpec, decode_image
from graftwork_jobs.export.engines import export_openvino
from graftwork_jobs.export.features_reference import features_reference
from graftwork_jobs.export.golden import GoldenCandidate

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]
EXAMPLES = Path(__file__).parents[3] / "examples"
IMAGE = ImageSpec(height=224, width=224)


def test_another_vendors_drawings_drift_and_the_same_vendors_do_not(tmp_path: Path) -> None:
    """Half of one vendor's test drawings are the reference; its other half and another vendor's come."""
    model = keras.models.load_model(EXAMPLES / "efficientnet_lite0" / "efficientnet_lite0.keras", compile=False)
    export_openvino(model, tmp_path / OPENVINO_MODEL_FILE)
    pictures = sorted((EXAMPLES / "emoji10" / "google-test").rglob("*.png"))
    other = sorted((EXAMPLES / "emoji10" / "twitter-test").rglob("*.png"))[::2]
    candidates = [GoldenCandidate(input=str(file), label="", group="") for file in pictures[::2]]
    reference = features_reference(candidates, IMAGE, Path, tmp_path)
    features = pooled_features(tmp_path / OPENVINO_MODEL_FILE, threads=2)
    assert reference is not None
    assert features is not None
    assert (reference.examples, reference.features) == (len(candidates), 1280)

    def drift_of(files: list[Path]) -> float:
        rows = [features(decode_image(file.read_bytes(), IMAGE)[None]) for file in files]
        return drift(reference, project(np.concatenate(rows)))

    same, different = drift_of(pictures[1::2]), drift_of(other)
    print(f"drift: same vendor {same:.2f}, another vendor {different:.2f}")  # noqa: T201 (shown by pytest -s)
    assert same < 1.5
    assert different > 2
    assert different > 2 * same
