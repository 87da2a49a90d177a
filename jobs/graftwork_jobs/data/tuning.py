"""How data sets run: as many threads as they are told, nothing tuned while they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


def untuned(dataset: tf.data.Dataset, *, threads: int | None = None) -> tf.data.Dataset:
    """A data set that keeps to the parallelism that it was made with.

    TensorFlow's tuning has a thread for each iterator, which sleeps longer the longer the iterator lives, and whose end
    the iterator's end waits for. An epoch of five seconds took another five to end.

    Args:
        dataset: whose parallel calls are numbers.
        threads: its own; None for TensorFlow's.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    if threads is not None:
        options.threading.private_threadpool_size = threads
        options.threading.max_intra_op_parallelism = 1
    return dataset.with_options(options)
