"""Small networks made of OpenVINO operations, as exported models have them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino import opset13 as ops

from graftwork.openvino_core import openvino_core

SIDE = 6


def network(
    *,
    trunk_seed: int = 0,
    head_seed: int = 0,
    labels: int = 3,
    activation: str = "softmax",
    hidden: int | None = None,
    names: str = "",
) -> openvino.Model:
    """A picture, shape (?, 6, 6, 3), to a convolution, pooling, and a head of dense layers."""
    trunk, head = np.random.default_rng(trunk_seed), np.random.default_rng(1000 + head_seed)
    image = ops.parameter([-1, SIDE, SIDE, 3], np.float32, name="image")
    moved: Any = ops.transpose(image, np.array([0, 3, 1, 2]))
    filters = trunk.normal(size=(64, 3, 3, 3)).astype(np.float32)
    x = ops.relu(ops.convolution(moved, filters, [1, 1], [0, 0], [0, 0], [1, 1]))
    x = ops.reduce_mean(x, np.array([2, 3]), keep_dims=False, name=f"{names}pool")
    width = 64
    if hidden is not None:
        x = ops.relu(_dense(x, head, width, hidden))
        width = hidden
    x = _dense(x, head, width, labels)
    match activation:
        case "softmax":
            x = ops.softmax(x, axis=1)
        case "sigmoid":
            x = ops.sigmoid(x)
        case "units":
            x = ops.add(ops.multiply(x, np.full((1, labels), 3, np.float32)), np.full((1, labels), -5, np.float32))
        case _:
            x = ops.log_softmax(x, axis=1)
    build: Any = openvino.Model  # whose stubs disagree with each other
    made: openvino.Model = build([x], [image], f"{names}network")
    return made


def _dense(x: Any, random: np.random.Generator, inputs: int, outputs: int) -> Any:
    weights = random.normal(size=(outputs, inputs)).astype(np.float32)
    bias = random.normal(size=(1, outputs)).astype(np.float32)
    return ops.add(ops.matmul(x, weights, transpose_a=False, transpose_b=True), bias)


def save(model: openvino.Model, file: Path) -> Path:
    """Write it as exported bundles do."""
    openvino.save_model(model, file, compress_to_fp16=False)
    return file


def scores(model: openvino.Model, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """What the whole network says."""
    compiled = openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled(np.stack(pictures).astype(np.float32))[0])
