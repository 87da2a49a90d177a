"""A bundle that is ready to answer: opened, checked, loaded into an engine, golden examples replayed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graftwork.bundle.directory import Bundle, open_bundle, replay_golden
from graftwork.bundle.manifest import OPENVINO_MODEL_FILE
from graftwork.preprocess.image import ImageSpec, decode_image
from graftwork_serving.endpoint_config import ModelConfig
from graftwork_serving.engine import Engine, EngineOptions, OpenVinoEngine

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, kw_only=True)
class ServedModel:
    """One bundle behind an endpoint.

    Attributes:
        name: in request URLs.
        version: in answers.
        digest: names the bundle's content.
        labels: class names in the order of the scores.
        image: what pictures are brought to.
        engine: what computes scores.
        max_image_pixels: larger pictures are refused.
        golden_difference: largest difference of a golden example's score.
    """

    name: str
    version: str
    digest: str
    labels: tuple[str, ...]
    image: ImageSpec
    engine: Engine
    max_image_pixels: int
    golden_difference: float

    @property
    def batch_size(self) -> int:
        """Most examples in one pass."""
        return self.engine.batch_size

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """A picture's bytes as the model takes them."""
        return decode_image(data, self.image, max_pixels=self.max_image_pixels)

    def predict(self, images: NDArray[np.uint8], *, alone: bool) -> NDArray[np.float32]:
        """Scores of a batch."""
        return self.engine.predict(images, alone=alone)


def load_model(config: ModelConfig, options: EngineOptions, *, max_image_pixels: int) -> ServedModel:
    """Open a bundle, load its engine and replay its golden examples.

    Raises:
        SpecError: there is no bundle.
        BundleError: it was changed, or answers differently than in training.
    """
    bundle = open_bundle(Path(config.path))
    engine = _load_engine(bundle, options)
    return ServedModel(
        name=config.name,
        version=config.version,
        digest=bundle.digest,
        labels=tuple(bundle.manifest.output.labels),
        image=bundle.image_spec,
        engine=engine,
        max_image_pixels=max_image_pixels,
        golden_difference=replay_golden(bundle, engine.predict),
    )


def _load_engine(bundle: Bundle, options: EngineOptions) -> Engine:
    image = bundle.image_spec
    return OpenVinoEngine(bundle.path / OPENVINO_MODEL_FILE, height=image.height, width=image.width, options=options)
