"""Bundles that are whole but hold no real model: for tests of the format and the registry, without TensorFlow."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from graftwork.bundle.directory import Bundle, seal_bundle
from graftwork.bundle.manifest import (
    BackboneRecord,
    BundleManifest,
    GoldenExample,
    ImageSignature,
    Lineage,
    ScoresSignature,
)
from graftwork.preprocess.image import ImageSpec, decode_image

SIDE = 8
LABELS = ["red", "green", "blue"]


def colour_shares(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """An engine that can be computed by hand: the share of each colour in a picture."""
    totals = images.astype(np.float64).sum(axis=(1, 2))
    return np.asarray(totals / totals.sum(axis=1, keepdims=True), dtype=np.float32)


def picture(seed: int) -> bytes:
    """A random PNG."""
    values = np.random.default_rng(seed).integers(1, 256, (12, 10, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


def small_manifest(golden: dict[str, bytes], *, accuracy: float = 0.5, job: str = "colours") -> BundleManifest:
    """A manifest whose golden scores are what `colour_shares` says."""
    examples = []
    for name, content in golden.items():
        scores = colour_shares(decode_image(content, ImageSpec(height=SIDE, width=SIDE))[None])[0]
        examples.append(GoldenExample(file=name, label="red", scores=[float(score) for score in scores]))
    return BundleManifest(
        created_at="2026-01-01T00:00:00+00:00",
        task="image-classification",
        input=ImageSignature(height=SIDE, width=SIDE, resize="stretch"),
        output=ScoresSignature(labels=LABELS),
        backbone=BackboneRecord(source="EfficientNetB0", weights="imagenet", digest="1" * 64),
        golden=examples,
        metrics={"accuracy": accuracy, "loss": 0.7},
        extra_metrics={"other-camera": {"accuracy": 0.25}},
        lineage=Lineage(job=job, run_id="r1", spec={"kind": "FineTuneJob"}, data_digest="d1", libraries={"keras": "3"}),
    )


def make_small_bundle(directory: Path, *, seed: int = 0, accuracy: float = 0.5, job: str = "colours") -> Bundle:
    """Write a sealed bundle; another seed gives other content."""
    golden = {f"golden/{index}.png": picture(10 * seed + index) for index in range(2)}
    files = {
        **golden,
        "model.keras": bytes([seed, 1, 2]),
        "openvino/model.xml": b"<net/>",
        "openvino/model.bin": bytes(range(64)),
        "report/report.html": b"<html></html>",
    }
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return seal_bundle(directory, small_manifest(golden, accuracy=accuracy, job=job))
