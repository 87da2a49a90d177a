"""What answers averaged over mirror images rest on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graftwork.bundle.feature_map import cut_at_feature_map
from graftwork.spec.fine_tune_job import Mirror
from graftwork_serving.explain.explainer import Explainer
from tests.support.mirrored import PICTURES, TURNS, exported, versions


@pytest.mark.parametrize("mirror", ["horizontal", "vertical", "both"])
def test_shares_are_those_of_picture_and_mirror_images_turned_back(mirror: Mirror, tmp_path: Path) -> None:
    """As the network that averages nothing explains each of them."""
    plain = Explainer(exported(tmp_path / "plain.xml", None), threads=1)
    each = [plain.explain(version[0], 2).shares for version in versions(PICTURES[:1], mirror)]
    # Shares have no axis of examples before height and width.
    upright = [
        np.flip(shares, tuple(axis - 1 for axis in turn)) for shares, turn in zip(each, TURNS[mirror], strict=True)
    ]
    found = Explainer(exported(tmp_path / "mirrored.xml", mirror), threads=1).explain(PICTURES[0], 2)
    np.testing.assert_allclose(found.shares, np.mean(upright, axis=0), atol=1e-5)
    assert np.abs(found.shares - each[0]).max() > 1e-4


@pytest.mark.parametrize("mirror", ["horizontal", "both"])
def test_shares_add_up_to_the_averaged_logit(mirror: Mirror, tmp_path: Path) -> None:
    """Without its constant, which is the answer to an empty map."""
    plain = cut_at_feature_map(exported(tmp_path / "plain.xml", None), threads=1)
    assert plain is not None
    logits = [plain.head(plain.trunk(version))[0, 1] for version in versions(PICTURES[:1], mirror)]
    constant = plain.head(np.zeros_like(plain.trunk(PICTURES[:1])))[0, 1]
    found = Explainer(exported(tmp_path / "mirrored.xml", mirror), threads=1).explain(PICTURES[0], 1)
    assert found.method == "class-activation-map"
    assert found.shares.sum() == pytest.approx(np.mean(logits) - constant, abs=1e-4)
