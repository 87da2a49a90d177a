"""Several processes that train one Keras model as if they were one.

Each worker runs Keras as on a single device. What makes them one: the optimizer averages gradients over the workers,
batch normalisation takes its moments over all of them, and sums of metrics are added up. Nothing here knows about jobs,
phases or checkpoints; `train/` does.
"""
