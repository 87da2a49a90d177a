"""Numbers that engines compute in: whether a processor has them, and what a model must keep to in less exact ones.

In float32 a model answers as it did in training, within the bundle's tolerance. In bfloat16, whose numbers have 8 bits
in place of 24, it does not; what its golden examples have to keep to then is said here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from graftwork.bundle.answers import Answers
from graftwork.bundle.directory import Bundle, BundleError, compare_scores
from graftwork.doctor.probe import gpu_capabilities
from graftwork.errors import Problem, SpecError
from graftwork.openvino_core import openvino_core

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graftwork.spec.engine import EngineName
    from graftwork.spec.precision import Precision

LOWER_TOLERANCE: Final = 0.1
"""How far a golden example may be from the trained model in less than float32: a score, or a number in standard
deviations of the training data. What is answered has to stay the same, too."""
OPENVINO_HINTS: Final[dict[Precision, str]] = {"float32": "f32", "bfloat16": "bf16"}
_CAPABILITIES: Final[dict[Precision, str]] = {"float32": "FP32", "bfloat16": "BF16"}
# Ampere. Source: https://docs.nvidia.com/cuda/cuda-c-programming-guide/ ("Arithmetic Instructions").
_LEAST_GPU: Final = 8.0


def check_precision(
    precision: Precision,
    *,
    engine: EngineName = "openvino",
    on_gpu: bool = False,
    file: Path | None = None,
    capabilities: Sequence[str] | None = None,
) -> None:
    """Make sure that this machine has a precision; OpenVINO would compute in float32 without a word.

    Args:
        precision: of the spec.
        engine: that computes. JAX on CPU computes in any, as slowly as else.
        on_gpu: whether it computes on a GPU.
        file: the spec.
        capabilities: what the CPU has, or the compute capabilities of the GPUs; asks OpenVINO or the driver by default.

    Raises:
        SpecError: it does not.
    """
    if precision == "float32" or (engine == "jax" and not on_gpu):
        return
    if on_gpu:
        found = gpu_capabilities() if capabilities is None else capabilities
        if all(float(each) >= _LEAST_GPU for each in found):
            return
        has, needs = f"a GPU of compute capability {min(found, key=float)}", f"one of {_LEAST_GPU:g} or more"
    else:
        found = _capabilities() if capabilities is None else capabilities
        if _CAPABILITIES[precision] in found:
            return
        has = f"a CPU that has {', '.join(sorted(found))}"
        needs = f"a CPU for which OpenVINO lists {_CAPABILITIES[precision]}"
    raise SpecError(
        Problem(
            file=None if file is None else str(file),
            where="spec.precision",
            received=f"{precision!r}, on {has}",
            expected=f"'float32', or {needs}",
            fix="Use `precision: float32`, or serve on another machine.",
        )
    )


def check_golden(bundle: Bundle, answers: Answers, scores: NDArray[np.float32], precision: Precision) -> float:
    """Compare what an engine says of the golden examples with what the trained model said.

    Args:
        bundle: the opened bundle.
        answers: of it.
        scores: what the engine says, shape (golden examples, labels).
        precision: in which it computes.

    Returns:
        The largest absolute difference of a score, or of a number in standard deviations.

    Raises:
        BundleError: they differ by more than is allowed in this precision.
    """
    if precision == "float32":
        return compare_scores(bundle, scores)
    try:
        difference = compare_scores(bundle, scores, tolerance=max(LOWER_TOLERANCE, bundle.manifest.tolerance))
    except BundleError as error:
        raise BundleError(f"{error} It computes in {precision}: use `precision: float32`.") from error
    golden = bundle.manifest.golden
    expected = answers.decisions(np.asarray([example.scores for example in golden], np.float32))
    for example, before, now in zip(golden, expected, answers.decisions(scores), strict=True):
        if now != before:
            raise BundleError(
                f"{bundle.path}: golden example {example.file} is answered with {_words(now)} in {precision}, "
                f"expected {_words(before)}, as the trained model says. Use `precision: float32`."
            )
    return difference


def _words(decision: Sequence[str]) -> str:
    return ", ".join(map(repr, decision)) or "no label"


def _capabilities() -> list[str]:
    return list(openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
