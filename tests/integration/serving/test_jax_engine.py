"""An endpoint whose replica computes with JAX, here on CPU: what it would do on a GPU is the same program."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest

from graftwork.bundle.directory import Bundle
from graftwork.preprocess.image import ImageSpec
from tests.integration.serving.conftest import free_port, serving, write_endpoint
from tests.support.bundles import SMALL_LABELS, SMALL_SIDE, keras_scores, picture_bytes

if TYPE_CHECKING:
    import keras

pytest.importorskip("jax", reason="needs the extra jax")
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def client(small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Of an endpoint with `engine: jax`."""
    file = tmp_path_factory.mktemp("jax") / "endpoint.yaml"
    write_endpoint(file, small_bundle.path, port=free_port(), engine="jax")
    with serving(file) as state, httpx.Client(base_url=state.url, timeout=30, trust_env=False) as http_client:
        yield http_client


def test_it_says_what_the_trained_model_says(client: httpx.Client, small_keras_model: keras.Model) -> None:
    """One by one and many at once, which share passes."""
    pictures = [picture_bytes(seed=seed, size=(40, 40), file_format="PNG") for seed in range(24)]
    expected = keras_scores(small_keras_model, pictures, ImageSpec(height=SMALL_SIDE, width=SMALL_SIDE))

    def ask(picture: bytes) -> list[float]:
        answer = client.post("/v1/endpoints/small/predict", content=picture).raise_for_status().json()
        return [answer["predictions"][0]["scores"][label] for label in SMALL_LABELS]

    with ThreadPoolExecutor(8) as clients:
        together = list(clients.map(ask, pictures))
    np.testing.assert_allclose(together, expected, atol=1e-5)
    np.testing.assert_allclose([ask(picture) for picture in pictures[:3]], expected[:3], atol=1e-5)


def test_metadata_and_metrics_name_the_engine(client: httpx.Client) -> None:
    """So that a dashboard tells what computes."""
    assert client.get("/v2/models/small").raise_for_status().json()["platform"] == "jax"
    lines = client.get("/metrics").raise_for_status().text.splitlines()
    (info,) = [line for line in lines if line.startswith("graftwork_model_info{")]
    assert 'engine="jax"' in info


def test_explanations_still_work(client: httpx.Client) -> None:
    """They are OpenVINO's."""
    picture = picture_bytes(seed=1, size=(40, 40), file_format="PNG")
    answer = client.post("/v1/endpoints/small/predict?explain=cam", content=picture).raise_for_status().json()
    assert "explanation" in answer["predictions"][0]
