"""Endpoints whose replicas compute on an NVIDIA GPU: `pytest -m gpu tests/integration`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from graftwork.bundle.directory import Bundle
from graftwork.preprocess.image import ImageSpec
from graftwork.settings import child_environment
from tests.integration.serving.conftest import free_port, serving, write_endpoint
from tests.support.bundles import SMALL_LABELS, SMALL_SIDE, keras_scores, picture_bytes

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

pytest.importorskip("jax", reason="needs the extra serve-gpu")
pytestmark = [pytest.mark.integration, pytest.mark.gpu, pytest.mark.timeout(300)]

_PICTURES = [picture_bytes(seed=seed, size=(40, 40), file_format="PNG") for seed in range(24)]


def _answers(bundle: Bundle, folder: Path, **spec: Any) -> tuple[NDArray[np.float64], str]:
    """Scores of the pictures, asked for by many at once, and the engine's precision."""
    file = write_endpoint(folder / "endpoint.yaml", bundle.path, port=free_port(), **spec)
    environment = child_environment({"GRAFT_HOME": str(folder)})
    with (
        serving(file, environment) as state,
        httpx.Client(base_url=state.url, timeout=30, trust_env=False) as client,
        ThreadPoolExecutor(8) as clients,
    ):

        def ask(picture: bytes) -> list[float]:
            answer = client.post("/v1/endpoints/small/predict", content=picture).raise_for_status().json()
            return [answer["predictions"][0]["scores"][label] for label in SMALL_LABELS]

        metadata = client.get("/v2/models/small").raise_for_status().json()
        assert metadata["platform"] == "jax"
        return np.array(list(clients.map(ask, _PICTURES))), metadata["parameters"]["precision"]


@pytest.fixture(scope="module")
def expected(small_keras_model: keras.Model) -> NDArray[np.float32]:
    """What the trained model says."""
    return keras_scores(small_keras_model, _PICTURES, ImageSpec(height=SMALL_SIDE, width=SMALL_SIDE))


def test_it_says_what_the_trained_model_says(
    small_bundle: Bundle, tmp_path: Path, expected: NDArray[np.float32]
) -> None:
    """Also where two replicas share the GPU."""
    scores, precision = _answers(
        small_bundle, tmp_path, resources={"gpus": 0.5}, autoscaling={"minReplicas": 2, "maxReplicas": 2}
    )
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert precision == "float32"


def test_in_bfloat16_it_says_nearly_so(small_bundle: Bundle, tmp_path: Path, expected: NDArray[np.float32]) -> None:
    """What golden examples may differ by at most."""
    scores, precision = _answers(small_bundle, tmp_path, resources={"gpus": 1}, precision="bfloat16")
    np.testing.assert_allclose(scores, expected, atol=0.1)
    assert np.abs(scores - expected).max() > 1e-5
    assert precision == "bfloat16"
