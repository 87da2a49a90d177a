"""A model in inference mode as one compiled function, on whatever backend Keras has.

Survives changes of the model's weights; each call uses those of the moment.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from graftwork_jobs.one_ahead import sent

if TYPE_CHECKING:
    import tensorflow as tf

Forward = Callable[["tf.Tensor"], Any]
"""Inputs from a data pipeline, shape (rows, ...), to outputs, shape (rows, ...), float32: an array of NumPy's, or one
of JAX's that is still being computed."""


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


def one_program(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of arrays, compiled as a whole: its operations would else be programs or calls of their own."""
    compiled: Callable[..., Any]
    if keras.backend.backend() == "jax":
        import jax

        compiled = jax.jit(function)
    else:
        import tensorflow as tf

        compiled = partial(tf.function, autograph=False, reduce_retracing=True)(function)
    return compiled


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

    variables, device = model.variables, jax.local_devices()[0]
    most_rows = 0

    def run(values: list[Any], inputs: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return ops.cast(model(inputs, training=False), "float32")

    compiled = jax.jit(run)

    def forward(inputs: tf.Tensor) -> Any:
        nonlocal most_rows
        given = np.asarray(inputs)
        most_rows = max(most_rows, len(given))
        # XLA compiles for each number of rows: a short last batch is filled up.
        missing = most_rows - len(given)
        filled = np.concatenate([given, np.repeat(given[:1], missing, axis=0)]) if missing else given
        outputs = compiled([variable.value for variable in variables], sent(filled, device))
        return np.asarray(outputs)[: len(given)] if missing else outputs

    return forward
