"""What runs a frozen trunk: Keras' backend, or OpenVINO where that is measurably faster and computes the same.

On CPU the first batches go through TensorFlow, and one of them is timed. When what is left would take long enough to
pay for the conversion, OpenVINO gets the same batch: it takes over if its outputs agree within `TOLERANCE` and it is
faster. All workers decide alike, from figures that they share.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from graftwork.openvino_core import openvino_core
from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.model.forward import Forward, compiled_forward, tensorflow_function

if TYPE_CHECKING:
    import tensorflow as tf

TOLERANCE = 1e-3
"""Largest difference between engines, as a share of the largest output: float32 sums in another order give 1e-6 to
1e-4 through a hundred layers; a wrong layer gives far more."""
# A conversion takes 2-4 s on one core and saves a fifth to a half of the time: below this it cannot pay.
_WORTH_TRYING_S = 10.0
_TIMED_RUNS = 2

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What runs a trunk from now on, and why.

    Attributes:
        name: `tensorflow`, `jax` or `openvino`.
        forward: runs it.
        reason: what was measured, in words.
        is_chosen: whether another was tried, or can't be.
    """

    name: str
    forward: Forward
    reason: str
    is_chosen: bool = False


def default_engine(trunk: keras.Model, signature: tf.TensorSpec) -> Engine:
    """A trunk as one compiled function of Keras' backend.

    Args:
        trunk: runs in inference mode.
        signature: of its inputs, with any number of rows.
    """
    name, forward = keras.backend.backend(), compiled_forward(trunk, signature)
    return Engine(name=name, forward=forward, reason="the default")


def choose_engine(
    default: Engine,
    trunk: keras.Model,
    signature: tf.TensorSpec,
    sample: tf.Tensor,
    *,
    seconds: float,
    batches_left: int,
    collectives: Collectives,
) -> Engine:
    """The faster engine for what is left to do; all workers get the same.

    Args:
        default: what has run the trunk so far.
        trunk: runs in inference mode.
        signature: of its inputs, with any number of rows.
        sample: a full batch of inputs.
        seconds: what the default took for it.
        batches_left: how many such batches this worker still has.
        collectives: this worker among all.
    """
    if default.name != "tensorflow" or _runs_on_gpu() or not _in_float32(trunk):
        # OpenVINO converts TensorFlow's graphs, and would compute in float32 what the trunk computes in less.
        return replace(default, is_chosen=True)
    left_s = float(collectives.sum_array(np.array([seconds * batches_left]))[0]) / collectives.world
    if left_s < _WORTH_TRYING_S:
        return default
    expected = default.forward(sample)
    usual_s = _seconds(default.forward, sample)
    candidate = _openvino(trunk, signature)
    found = np.array([np.inf, np.inf])
    if candidate is not None:
        found = np.array([_disagreement(candidate(sample), expected), _seconds(candidate, sample)])
    shares = np.zeros((collectives.world, 3))
    shares[collectives.rank] = np.minimum([*found, usual_s], np.finfo(np.float64).max / collectives.world)
    shares = collectives.sum_array(shares)
    disagreement, (other_s, usual_s) = shares[:, 0].max(), shares[:, 1:].mean(axis=0)
    if candidate is None or disagreement > TOLERANCE or other_s >= usual_s:
        reason = "its outputs differ" if disagreement > TOLERANCE else f"{_ratio(usual_s, other_s)} as fast"
        return replace(default, reason=f"OpenVINO was tried: {reason}", is_chosen=True)
    return Engine(
        name="openvino",
        forward=candidate,
        reason=f"{_ratio(usual_s, other_s)} as fast as TensorFlow, outputs within {disagreement:.0e}",
        is_chosen=True,
    )


def _openvino(trunk: keras.Model, signature: tf.TensorSpec) -> Forward | None:
    """A trunk on OpenVINO with as many threads as TensorFlow has; None if it cannot be converted."""
    import openvino
    import tensorflow as tf

    threads = tf.config.threading.get_intra_op_parallelism_threads()
    options: dict[str, Any] = {
        # Left alone it may choose bfloat16 by itself.
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        # Pinned, the workers of a machine would share a core.
        "ENABLE_CPU_PINNING": False,
        **({"INFERENCE_NUM_THREADS": threads} if threads else {}),
    }
    try:
        converted = openvino.convert_model(tensorflow_function(trunk, signature).get_concrete_function())
        compiled = openvino_core().compile_model(converted, "CPU", options)
    except RuntimeError as error:
        # Any layer may be unknown to it; TensorFlow runs all of them.
        _logger.info("OpenVINO cannot run this trunk: %s", error)
        return None
    request = compiled.create_infer_request()

    def forward(inputs: tf.Tensor) -> NDArray[np.float32]:
        return np.array(request.infer([inputs.numpy()], share_inputs=True)[0])

    return forward


def _seconds(forward: Forward, sample: tf.Tensor) -> float:
    """Shortest of several runs."""
    times = []
    for _ in range(_TIMED_RUNS):
        began = time.perf_counter()
        forward(sample)
        times.append(time.perf_counter() - began)
    return min(times)


def _disagreement(values: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Largest difference as a share of the largest output; infinite if either is not finite."""
    if values.shape != expected.shape or not np.isfinite(values).all():
        return float("inf")
    scale = float(np.abs(expected).max(initial=0.0)) or 1.0
    return float(np.abs(values - expected).max(initial=0.0)) / scale


def _ratio(usual_s: float, other_s: float) -> str:
    return f"{usual_s / other_s:.1f} times"


def _runs_on_gpu() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))


def _in_float32(trunk: keras.Model) -> bool:
    """Whether it computes in float32 throughout."""
    return all(layer.compute_dtype == "float32" for layer in trunk.layers)
