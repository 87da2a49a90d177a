"""Steps on JAX: what they compute, count and say of themselves, against NumPy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.jobs.train.jax_steps_run import BAD, FEATURES, LABELS, RATE

pytest.importorskip("jax", reason="needs the extra jax")
ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def runs() -> dict[str, Any]:
    """What `jax_steps_run.py` found."""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}  # noqa: TID251 (handed on)
    command = [sys.executable, "-m", "tests.unit.jobs.train.jax_steps_run"]
    answer = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def _by_hand() -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Kernel, bias and sums (loss, right answers, rows) of softmax regression by plain gradient descent, in float64."""
    kernel, bias, sums = np.zeros((5, 3)), np.zeros(3), np.zeros(3)
    for values, labels in zip(FEATURES.astype(np.float64), LABELS, strict=True):
        logits = values @ kernel + bias
        scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        wanted = np.eye(3)[labels]
        sums += -np.log(scores[wanted > 0]).sum(), (logits.argmax(axis=1) == labels).sum(), len(labels)
        gap = (scores - wanted) / len(labels)
        kernel -= RATE * values.T @ gap
        bias -= RATE * gap.sum(axis=0)
    return kernel, bias, sums.tolist()


def test_every_batch_is_trained_on_once_and_counted(runs: dict[str, Any]) -> None:
    """Weights, losses, right answers and rows are those of gradient descent done by hand."""
    kernel, bias, sums = _by_hand()
    np.testing.assert_allclose(runs["not asked"]["weights"][0], kernel, atol=1e-5)
    np.testing.assert_allclose(runs["not asked"]["weights"][1], bias, atol=1e-5)
    np.testing.assert_allclose(runs["not asked"]["counted"], sums, rtol=1e-5)


def test_asking_for_bad_updates_changes_nothing(runs: dict[str, Any]) -> None:
    """All is well, and the weights are the same to the last bit."""
    assert runs["asked"]["said"] == [None] * 18
    assert runs["asked"]["weights"] == runs["not asked"]["weights"]


def test_a_bad_update_is_named_while_the_steps_hold_the_weights(runs: dict[str, Any]) -> None:
    """Not before it, and as the same one ever after."""
    before, *after = runs["bad"]["said"]
    assert before is None
    assert {found["update"] for found in after} == {BAD}
    assert runs["bad"]["settled"] == after[-1]
