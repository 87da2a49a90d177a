"""Small backbones and networks, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

from graftwork.progress import SilentReporter
from graftwork.spec.fine_tune_job import Backbone, Head
from graftwork_jobs.model.backbone import LoadedBackbone, load_backbone
from graftwork_jobs.model.network import Network, build_network

LITE0 = Path(__file__).parents[4] / "examples" / "efficientnet_lite0" / "efficientnet_lite0.keras"

Load = Callable[..., LoadedBackbone]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """`load_backbone` with folders of the test's own; keyword arguments make the spec's `backbone`."""

    def run(image_size: tuple[int, int] | None = (32, 32), seed: int = 0, **backbone: Any) -> LoadedBackbone:
        return load_backbone(
            Backbone(**backbone),
            image_size=image_size,
            base_dir=tmp_path,
            weights_dir=tmp_path / "weights",
            reporter=SilentReporter(),
            seed=seed,
        )

    return run


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    """A `.keras` file: two blocks with BatchNorm and dropout, global pooling, a classifier."""
    keras.utils.set_random_seed(5)
    image = keras.Input((16, 16, 3), name="picture")
    features = image
    for block in (1, 2):
        features = keras.layers.Conv2D(4 * block, 3, padding="same", name=f"block{block}_conv")(features)
        features = keras.layers.BatchNormalization(name=f"block{block}_bn")(features)
        features = keras.layers.ReLU(name=f"block{block}_relu")(features)
        features = keras.layers.Dropout(0.4, name=f"block{block}_drop")(features)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(features)
    model = keras.Model(image, keras.layers.Dense(7, name="classes")(pooled), name="small")
    path = tmp_path / "small.keras"
    model.save(path)
    return path


@pytest.fixture
def small_network(load: Load, small_file: Path) -> Network:
    """A network on the small file, for 3 classes."""
    return build_network(
        load(None, path=str(small_file)),
        Head(hidden=[6]),
        outputs=3,
        seed=1,
        batch_norm_training=False,
        dropout_slice=None,
    )
