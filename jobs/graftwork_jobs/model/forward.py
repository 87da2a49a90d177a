"""A model in inference mode as one compiled function, on whatever backend Keras has.

Survives changes of the model's weights; each call uses those of the moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

if TYPE_CHECKING:
    import tensorflow as tf
    from numpy.typing import NDArray

Forward = Callable[["tf.Tensor"], "NDArray[np.float32]"]
"""Inputs from a data pipeline, shape (rows, ...), to outputs, shape (rows, ...), float32."""


def compiled_forward(model: keras.Model, signature: tf.TensorSpec | None = None) -> Forward:
    """Compile a model with one input for inference.

    Args:
        model: any number of rows.
        signature: of its inputs, with any number of rows; None for what the model says.
    """
    if keras.backend.backend() == "jax":
        return _jax_forward(model)
    function = tensorflow_function(model, signature)
    return lambda inputs: np.asarray(function(inputs))


def tensorflow_function(model: keras.Model, signature: tf.TensorSpec | None = None) -> Any:
    """A model as a `tf.function`, with a fixed signature: a short last batch must not cost another trace."""
    import tensorflow as tf

    if signature is None:
        signature = tf.TensorSpec([None, *model.input_shape[1:]], model.inputs[0].dtype)
    return tf.function(
        lambda inputs: tf.cast(model(inputs, training=False), tf.float32), input_signature=[signature], autograph=False
    )


def _jax_forward(model: keras.Model) -> Forward:
    import jax

    variables = model.variables
    most_rows = 0

    def run(values: list[Any], inputs: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return ops.cast(model(inputs, training=False), "float32")

    compiled = jax.jit(run)

    def forward(inputs: tf.Tensor) -> NDArray[np.float32]:
        nonlocal most_rows
        given = np.asarray(inputs)
        most_rows = max(most_rows, len(given))
        # XLA compiles for each number of rows: a short last batch is filled up.
        filled = np.concatenate([given, np.repeat(given[:1], most_rows - len(given), axis=0)])
        return np.asarray(compiled([variable.value for variable in variables], filled))[: len(given)]

    return forward
