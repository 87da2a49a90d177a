"""Adam with fused updates beside Keras' own."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from graftwork_jobs.train.fused_adam import fused

SHAPES = ((3, 4), (5,), ())


def _trained(optimizer: keras.optimizers.Optimizer, updates: int = 30) -> list[np.ndarray]:
    """Weights and moments after updates of several sizes, in a compiled step."""
    random = np.random.default_rng(7)
    variables = [keras.Variable(random.normal(size=shape).astype(np.float32)) for shape in SHAPES]
    optimizer.build(variables)

    step = tf.function(lambda gradients: optimizer.apply(gradients, variables))
    for update in range(updates):
        size = 10.0 ** (update % 5 - 3)
        step([tf.constant(size * random.normal(size=shape), tf.float32) for shape in SHAPES])
    return [variable.numpy() for variable in [*variables, *optimizer.variables]]


@pytest.mark.parametrize(
    "options",
    [{}, {"weight_decay": 0.1}, {"global_clipnorm": 0.5}, {"gradient_accumulation_steps": 3}, {"beta_2": 0.9}],
)
@pytest.mark.parametrize("kind", [keras.optimizers.Adam, keras.optimizers.AdamW])
def test_it_ends_where_keras_own_ends(kind: type[keras.optimizers.Adam], options: dict[str, Any]) -> None:
    """Weights, both moments and the count, to rounding."""
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 40)
    expected = _trained(kind(learning_rate=schedule, **options))
    found = _trained(fused(kind)(learning_rate=schedule, **options))
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=1e-7)
