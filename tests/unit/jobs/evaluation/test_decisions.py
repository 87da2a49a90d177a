from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score, recall_score

from graftwork.spec.job_evaluation import Threshold
from graftwork_jobs.evaluation.decisions import Cut, answered, choose_cut, cut_words


def _drawn(positive: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """300 examples, a fifth of them positive, with rounded scores that know something."""
    random = np.random.default_rng(seed)
    has = random.random(300) < 0.2
    own = np.round(np.clip(0.35 * has + random.normal(0.3, 0.2, 300), 0, 1), 2)
    scores = np.stack([1 - own, own] if positive == 1 else [own, 1 - own], axis=1)
    return scores.astype(np.float32), np.where(has, positive, 1 - positive).astype(np.int32)


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("maximize", ["f1", "accuracy", "balanced-accuracy"])
def test_no_other_threshold_is_better(maximize: str, positive: int) -> None:
    """Of all thresholds there are, the chosen one gives the highest figure."""
    scores, labels = _drawn(positive)
    rule = Threshold.model_validate({"maximize": maximize})
    figures: dict[str, Callable[[Any], float]] = {
        "f1": lambda said: f1_score(labels == positive, said),
        "accuracy": lambda said: float((said == (labels == positive)).mean()),
        "balanced-accuracy": lambda said: balanced_accuracy_score(labels == positive, said),
    }
    figure = figures[maximize]
    chosen = choose_cut(scores, labels, rule, positive)
    reached = figure(answered(scores, chosen.cut) == positive)
    others = [figure(scores[:, positive] >= at) for at in np.linspace(0.001, 0.999, 500)]
    assert reached == pytest.approx(max(others))


@pytest.mark.parametrize(("rule", "bound"), [("minPrecision", 0.8), ("minRecall", 0.9)])
def test_a_floor_is_kept_at_the_lowest_price(rule: str, bound: float) -> None:
    """The figure named is kept, and no threshold that keeps it does better in the other one."""
    scores, labels = _drawn(1)
    chosen = choose_cut(scores, labels, Threshold.model_validate({rule: bound}), 1)
    said = answered(scores, chosen.cut) == 1
    assert chosen.precision == pytest.approx(precision_score(labels, said))
    assert chosen.recall == pytest.approx(recall_score(labels, said))
    pairs = [
        (precision_score(labels, scores[:, 1] >= at, zero_division=0.0), recall_score(labels, scores[:, 1] >= at))
        for at in np.linspace(0.001, 0.999, 500)
    ]
    own, other = (0, 1) if rule == "minPrecision" else (1, 0)
    reached = (chosen.precision or 0.0, chosen.recall)
    assert reached[own] >= bound
    assert reached[other] == pytest.approx(max(pair[other] for pair in pairs if pair[own] >= bound))
    assert chosen.reached


def test_a_floor_out_of_reach_is_said() -> None:
    """The best there is, is taken, and the words say that it is not enough."""
    scores = np.array([[0.2, 0.8], [0.3, 0.7], [0.6, 0.4]], np.float32)
    rule = Threshold.model_validate({"minPrecision": 0.9, "positive": "spam"})
    chosen = choose_cut(scores, np.array([0, 1, 0], np.int32), rule, 1)
    assert not chosen.reached
    assert chosen.precision == pytest.approx(0.5)
    words = cut_words(chosen, ("ham", "spam"), rule)
    assert words.startswith("spam is answered from a score of 0.")
    assert "could not be kept" in words


def test_without_positive_examples_one_half_stays() -> None:
    """Nothing can be chosen on data that does not know the class."""
    scores = np.array([[0.2, 0.8], [0.7, 0.3]], np.float32)
    chosen = choose_cut(scores, np.zeros(2, np.int32), Threshold.model_validate({"maximize": "f1"}), 1)
    assert chosen.cut.at == 0.5
    assert not chosen.reached


def test_a_cut_decides_by_the_positive_score_alone() -> None:
    """A score at the cut is positive, below it is not, whichever class it belongs to."""
    scores = np.array([[0.7, 0.3], [0.71, 0.29], [0.1, 0.9]], np.float32)
    assert answered(scores, Cut(positive=1, at=float(np.float32(0.3)), negative=0)).tolist() == [1, 0, 1]
    assert answered(scores, Cut(positive=0, at=0.72, negative=1)).tolist() == [1, 1, 1]
    assert answered(scores, None).tolist() == [0, 0, 1]
