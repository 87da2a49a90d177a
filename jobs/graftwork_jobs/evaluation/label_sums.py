"""The figures of a multi-label classifier as functions of sums over the examples, for drawing test sets. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from graftwork_jobs.evaluation.calibration import BINS, bin_of
from graftwork_jobs.evaluation.label_metrics import log_losses
from graftwork_jobs.evaluation.ranks import average_precision_influence
from graftwork_jobs.evaluation.resampling import Draws, Summed

# Columns before those of the labels: all right, log loss, influence on mAP.
_PLAIN = 3


def label_sums(
    predictions: NDArray[np.float32],
    truths: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    summary: Mapping[str, float],
) -> Summed:
    """Sums behind a multi-label classifier's figures.

    Args:
        predictions: probabilities, shape (examples, labels).
        truths: 1 where an example has the label, the same shape.
        thresholds: from which probability on each label is given, shape (labels,).
        summary: the figures themselves.
    """
    wanted, given = truths > 0, predictions >= thresholds
    probabilities = predictions.astype(np.float64)
    influence = np.zeros(len(wanted))
    occurring = np.flatnonzero(wanted.any(axis=0))
    for place in occurring:
        influence += average_precision_influence(probabilities[:, place], wanted[:, place]) / len(occurring)
    places = bin_of(probabilities)
    off = probabilities - wanted
    terms = np.concatenate(
        [
            (wanted == given).all(axis=1)[:, None],
            log_losses(predictions, wanted).mean(axis=1)[:, None],
            influence[:, None],
            np.stack([(off * (places == place)).sum(axis=1) for place in range(BINS)], axis=1),
            wanted & given,
            given,
            wanted,
        ],
        axis=1,
    ).astype(np.float64)
    return Summed(terms=terms, figures=partial(_figures, labels=wanted.shape[1], summary=summary))


def _figures(sums: NDArray[np.float64], examples: int, *, labels: int, summary: Mapping[str, float]) -> Draws:
    exact, loss, average_precision = sums[:, :_PLAIN].T
    bins, per_label = sums[:, _PLAIN : _PLAIN + BINS], sums[:, _PLAIN + BINS :]
    hits, given, wanted = (per_label[:, part * labels : (part + 1) * labels] for part in range(3))
    there = wanted > 0
    occurring = np.maximum(there.sum(axis=1), 1)
    f1 = 2 * hits / np.maximum(given + wanted, 1)
    precision = hits / np.maximum(given, 1)
    recall = hits / np.maximum(wanted, 1)
    figures = {
        "f1_macro": (f1 * there).sum(axis=1) / occurring,
        "f1_micro": 2 * hits.sum(axis=1) / np.maximum((given + wanted).sum(axis=1), 1),
        "map": np.clip(summary["map"] + average_precision, 0.0, 1.0),
        "precision_macro": (precision * there).sum(axis=1) / occurring,
        "recall_macro": recall.sum(axis=1) / occurring,
        "exact_match": exact / examples,
        "loss": loss / examples,
        "ece": np.abs(bins).sum(axis=1) / (examples * labels),
    }
    return {name: values for name, values in figures.items() if name in summary}
