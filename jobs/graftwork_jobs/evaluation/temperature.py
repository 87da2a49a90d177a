"""Temperature scaling: one number that makes scores say how often they are right, fitted on validation data. Pure.

Source: Guo, Pleiss, Sun, Weinberger, On Calibration of Modern Neural Networks (ICML 2017, arXiv:1706.04599), section
4.2. Here a weak prior is added, the logarithm of the temperature being drawn from a normal distribution: without one,
validation data that holds no mistake would call for scores of 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

_LARGEST: Final = 20.0
_PRIOR_DEVIATION: Final = 1.0
# Labels of one network are alike: each is held to what fits all of them, the more the fewer examples it has.
_LABEL_DEVIATION: Final = 0.5
# Scores are float32: nothing below is told apart from 0, and nothing nearer to 1 from 1.
_SMALLEST: Final = float(np.finfo(np.float32).tiny)
_STEP: Final = float(np.finfo(np.float32).eps) / 2


def fit_class_temperature(scores: NDArray[np.float32], labels: NDArray[np.int32]) -> float:
    """The temperature under which the true classes are likeliest.

    Args:
        scores: probabilities of validation data, shape (examples, classes).
        labels: its classes, shape (examples,).
    """
    logits, rows = class_logits(scores), np.arange(len(labels))

    def loss(temperature: float) -> float:
        from scipy.special import log_softmax

        return -float(log_softmax(logits / temperature, axis=1)[rows, labels].sum())

    return _fit(loss, around=1.0, deviation=_PRIOR_DEVIATION)


def fit_label_temperatures(probabilities: NDArray[np.float32], truths: NDArray[np.float32]) -> NDArray[np.float64]:
    """For each label the temperature under which its answers are likeliest, near the one that fits all labels.

    Args:
        probabilities: of validation data, shape (examples, labels).
        truths: 1 where an example has the label, the same shape.

    Returns:
        Shape (labels,).
    """
    logits = label_logits(probabilities)
    signs = np.where(truths > 0, -1.0, 1.0)

    def loss_of(part: NDArray[np.float64]) -> Callable[[float], float]:
        return lambda temperature: float(np.logaddexp(0.0, part / temperature).sum())

    shared = _fit(loss_of(signs * logits), around=1.0, deviation=_PRIOR_DEVIATION)
    return np.array(
        [
            _fit(loss_of((signs * logits)[:, place]), around=shared, deviation=_LABEL_DEVIATION)
            for place in range(logits.shape[1])
        ]
    )


def cooled_classes(scores: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """The probabilities that the network gives once its outputs are divided by a temperature.

    Args:
        scores: its probabilities without, shape (examples, classes).
        temperature: above 0.
    """
    from scipy.special import softmax

    return np.asarray(softmax(class_logits(scores) / temperature, axis=1), np.float32)


def cooled_labels(probabilities: NDArray[np.float32], temperatures: NDArray[np.float64]) -> NDArray[np.float32]:
    """The same for labels, each with its temperature.

    Args:
        probabilities: shape (examples, labels).
        temperatures: shape (labels,).
    """
    from scipy.special import expit

    return np.asarray(expit(label_logits(probabilities) / temperatures), np.float32)


def temperature_words(temperature: float, examples: int) -> str:
    """What a temperature says of the network, in a sentence."""
    was = "was too sure" if temperature > 1 else "was not sure enough"
    return (
        f"Its outputs are divided by a temperature of {temperature:.3g}, fitted on {examples:,} validation examples, "
        f"before they become scores: the network {was}."
    )


def temperatures_words(temperatures: NDArray[np.float64], examples: int) -> str:
    """The same for a temperature a label."""
    return (
        f"The output of each label is divided by a temperature of its own, {temperatures.min():.3g} to "
        f"{temperatures.max():.3g}, fitted on {examples:,} validation examples: above 1 for labels of which the "
        "network was too sure."
    )


def class_logits(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Outputs that give these probabilities; a constant for each example is free."""
    logits: NDArray[np.float64] = np.log(np.maximum(scores.astype(np.float64), _SMALLEST))
    return logits


def label_logits(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Outputs that give these probabilities."""
    clipped = np.clip(probabilities.astype(np.float64), _SMALLEST, 1 - _STEP)
    logits: NDArray[np.float64] = np.log(clipped) - np.log1p(-clipped)
    return logits


def _fit(loss: Callable[[float], float], *, around: float, deviation: float) -> float:
    """The temperature with the lowest loss, of all examples together, and prior."""
    from scipy.optimize import minimize_scalar

    def penalised(log_temperature: float) -> float:
        far = (log_temperature - math.log(around)) / deviation
        return loss(math.exp(log_temperature)) + 0.5 * far * far

    limit = math.log(_LARGEST)
    found = minimize_scalar(penalised, bounds=(-limit, limit), method="bounded", options={"xatol": 1e-5})
    return float(math.exp(found.x))
