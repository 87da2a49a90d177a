"""An update of Adam: Graftwork's fused one beside Keras' own, on the weights of EfficientNet-Lite0 and of a small BERT.

Both in a compiled function, in turn, with one thread; medians.

Run: python -m tests.benchmarks.bench_adam [--rounds 9]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from graftwork_jobs.train.fused_adam import fused
from tests.benchmarks.train_runs import LITE0

# Of one layer of BERT with vectors of 384: attention, and the two large matrices behind it.
_BERT_LAYER = ((384, 384),) * 4 + ((384,),) * 8 + ((384, 1536), (1536,), (1536, 384), (384,))


def _shapes() -> dict[str, list[tuple[int, ...]]]:
    lite0 = keras.models.load_model(LITE0)
    return {
        "EfficientNet-Lite0": [tuple(variable.shape) for variable in lite0.trainable_variables],
        "six layers of MiniLM": [*_BERT_LAYER] * 6,
    }


def _update(kind: type[keras.optimizers.Adam], gradients: list[tf.Tensor]) -> Callable[[], None]:
    variables = [keras.Variable(np.zeros_like(gradient.numpy())) for gradient in gradients]
    optimizer = kind(learning_rate=1e-4)
    optimizer.build(variables)
    update: Callable[[], None] = tf.function(lambda: optimizer.apply(gradients, variables))
    return update


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    random = np.random.default_rng(0)
    print(f"{'weights of':22} {'number':>11} {'Keras ms':>9} {'fused ms':>9} {'ratio':>6}")
    for name, shapes in _shapes().items():
        gradients = [tf.constant(random.normal(size=shape).astype(np.float32)) for shape in shapes]
        updates = [_update(kind, gradients) for kind in (keras.optimizers.Adam, fused(keras.optimizers.Adam))]
        times: list[list[float]] = [[], []]
        for turn in range(options.rounds + 1):
            for seconds, update in zip(times, updates, strict=True):
                began = time.perf_counter()
                update()
                if turn:  # the first one compiles
                    seconds.append(time.perf_counter() - began)
        keras_ms, fused_ms = (1000 * statistics.median(seconds) for seconds in times)
        number = sum(int(np.prod(shape)) for shape in shapes)
        print(f"{name:22} {number:>11,} {keras_ms:>9.2f} {fused_ms:>9.2f} {keras_ms / fused_ms:>6.2f}")


if __name__ == "__main__":
    main()
