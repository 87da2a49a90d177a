"""Real bundles for tests: small Keras models, exported to OpenVINO, with golden examples scored by Keras itself."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.bundle.directory import Bundle, seal_bundle
from graftwork.bundle.manifest import (
    KERAS_MODEL_FILE,
    OPENVINO_MODEL_FILE,
    BackboneRecord,
    BundleManifest,
    GoldenExample,
    ImageSignature,
    Lineage,
    ScoresSignature,
)
from graftwork.bundle.trained_on import write_trained_on
from graftwork.preprocess.image import ImageSpec, decode_image

if TYPE_CHECKING:
    import keras

SMALL_SIDE = 32
SMALL_LABELS = ("blue", "green", "red")


def picture_bytes(*, seed: int, size: tuple[int, int] = (48, 40), file_format: str = "PNG") -> bytes:
    """A picture file with random smooth content; size is (width, height)."""
    from PIL import Image

    values = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values).resize(size, Image.Resampling.BICUBIC).save(stream, file_format)
    return stream.getvalue()


def small_model(*, seed: int = 0, labels: int = len(SMALL_LABELS)) -> keras.Model:
    """A real convolutional classifier: RGB 0..255 in, probabilities out."""
    import keras

    keras.utils.set_random_seed(seed)
    image = keras.Input((SMALL_SIDE, SMALL_SIDE, 3), name="image")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    x = keras.layers.Conv2D(16, 3, strides=2, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    # Wide weights: random models otherwise answer nearly the same for every picture.
    x = keras.layers.Dense(labels, kernel_initializer=keras.initializers.RandomNormal(stddev=3.0))(x)
    return keras.Model(image, keras.layers.Softmax(name="scores")(x))


def write_bundle(
    model: keras.Model,
    directory: Path,
    *,
    labels: Sequence[str] = SMALL_LABELS,
    pictures: Sequence[bytes] | None = None,
    shift_golden: float = 0.0,
    trained_on: Sequence[str] | None = None,
) -> Bundle:
    """Write a bundle of a Keras model whose input is square.

    Args:
        model: RGB 0..255, shape (batch, side, side, 3), to probabilities.
        directory: where to; made here.
        labels: class names in the order of the scores.
        pictures: golden examples; three random pictures by default.
        trained_on: digests of the examples it has seen; by default it does not tell.
        shift_golden: added to the first score of every golden example, to make a bundle that must be refused.
    """
    side = int(model.input_shape[1])
    (directory / OPENVINO_MODEL_FILE).parent.mkdir(parents=True)
    (directory / "golden").mkdir()
    with _third_party_warnings():
        model.save(directory / KERAS_MODEL_FILE)
        model.export(str(directory / OPENVINO_MODEL_FILE), format="openvino", verbose=False)
    image = ImageSpec(height=side, width=side)
    golden: list[GoldenExample] = []
    for index, data in enumerate(pictures or [picture_bytes(seed=seed) for seed in range(3)]):
        name = f"golden/{index}.png"
        (directory / name).write_bytes(data)
        scores = keras_scores(model, [data], image)[0]
        scores[0] += shift_golden
        golden.append(GoldenExample(file=name, label=labels[int(scores.argmax())], scores=scores.tolist()))
    if trained_on is not None:
        write_trained_on(directory, trained_on)
    return seal_bundle(directory, _manifest(side, labels, golden))


def keras_scores(model: Callable[..., Any], pictures: Sequence[bytes], image: ImageSpec) -> NDArray[np.float32]:
    """What the Keras model itself says of picture files."""
    pixels = np.stack([decode_image(data, image) for data in pictures]).astype(np.float32)
    with _third_party_warnings():
        return np.array(model(pixels, training=False), dtype=np.float32)


@contextmanager
def _third_party_warnings() -> Iterator[None]:
    """Keras with TensorFlow and NumPy 2 warns about its own code when it saves; tests take warnings for errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _manifest(side: int, labels: Sequence[str], golden: list[GoldenExample]) -> BundleManifest:
    return BundleManifest(
        created_at="2026-01-01T00:00:00Z",
        task="image-classification",
        input=ImageSignature(height=side, width=side, resize="stretch"),
        output=ScoresSignature(labels=list(labels)),
        backbone=BackboneRecord(source="test", weights="none", digest="0" * 64),
        golden=golden,
        metrics={"accuracy": 0.5},
        lineage=Lineage(job="test", run_id="test", spec={}, data_digest="0" * 64, libraries={}),
    )
