"""Features of networks that average over mirror images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graftwork.bundle.feature_map import pooled_features
from graftwork.spec.fine_tune_job import Mirror
from tests.support.mirrored import PICTURES, exported, versions


@pytest.mark.parametrize("mirror", [None, "horizontal", "both"])
def test_features_of_a_batch_are_those_of_its_pictures_one_by_one(mirror: Mirror | None, tmp_path: Path) -> None:
    """What is measured at export in batches is measured in endpoints one by one."""
    features = pooled_features(exported(tmp_path / "model.xml", mirror), threads=1)
    assert features is not None
    one_by_one = np.concatenate([features(picture[None]) for picture in PICTURES])
    np.testing.assert_allclose(features(PICTURES), one_by_one, atol=1e-5)


@pytest.mark.parametrize("mirror", ["horizontal", "vertical", "both"])
def test_features_are_the_mean_of_picture_and_mirror_images(mirror: Mirror, tmp_path: Path) -> None:
    """As the network that averages nothing gives them."""
    plain = pooled_features(exported(tmp_path / "plain.xml", None), threads=1)
    mirrored = pooled_features(exported(tmp_path / "mirrored.xml", mirror), threads=1)
    assert plain is not None
    assert mirrored is not None
    expected = np.mean([plain(version) for version in versions(PICTURES, mirror)], axis=0)
    np.testing.assert_allclose(mirrored(PICTURES), expected, atol=1e-5)
