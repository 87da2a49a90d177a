"""What `test_jax_steps.py` runs in a process of its own, as Keras has one backend in a process. Prints JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

    from graftwork_jobs.train.jax_steps import JaxSteps

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(300, 4, 5)).astype(np.float32)
LABELS = RANDOM.integers(0, 3, (300, 4)).astype(np.int32)
RATE = 0.1
BAD = 7


@dataclass
class Data:
    """Ready batches, as a `tf.data.Dataset` gives them; the one of that number is not finite."""

    bad: int | None = None

    def as_numpy_iterator(self) -> Iterator[Any]:
        """Elements (inputs of `TrainingModel`, targets, weights)."""
        ones = np.ones(4, np.float32)
        for number, (values, labels) in enumerate(zip(FEATURES, LABELS, strict=True)):
            yield {"values": values * (np.nan if number == self.bad else 1), "valid": ones}, labels, ones


def steps() -> tuple[JaxSteps, keras.Model]:
    """Of one fully connected layer, from zero."""
    import keras

    from graftwork_jobs.distributed.jax_collectives import JaxCollectives
    from graftwork_jobs.distributed.optimizer import averaging
    from graftwork_jobs.targets.classes import ClassTarget
    from graftwork_jobs.train.jax_steps import JaxSteps
    from graftwork_jobs.train.objective import TrainingModel

    alone = JaxCollectives(rank=0, world=1)
    given = keras.Input((5,))
    network = keras.Model(given, keras.layers.Dense(3, kernel_initializer="zeros")(given))
    model = TrainingModel(network, backbone=None, head=network, backbone_trains=False)
    made: Any = averaging(keras.optimizers.SGD, alone)
    optimizer = made(learning_rate=RATE)
    optimizer.build(network.trainable_variables)
    return JaxSteps(model, optimizer, ClassTarget(("a", "b", "c")), alone), network


def trained(count: int, bad: int | None = None, ask_at: tuple[int, ...] = ()) -> dict[str, Any]:
    """After that many steps: what the steps said of bad updates when asked, their sums, and the weights."""
    made, network = steps()
    data: Any = Data(bad)
    batches = made.batches(data)
    made.count_from(())
    said = []
    for step in range(1, count + 1):
        made.run(batches, 1)
        if step in ask_at:
            found = made.bad_update()
            said.append(None if found is None else asdict(found))
    counted = made.counted().tolist()
    made.settle()
    settled = made.bad_update()
    return {
        "said": said,
        "settled": None if settled is None else asdict(settled),
        "counted": counted,
        "weights": [np.asarray(each.value).tolist() for each in network.variables],
    }


if __name__ == "__main__":
    runs = {
        "asked": trained(300, ask_at=tuple(range(16, 300, 16))),
        "not asked": trained(300),
        "bad": trained(12, bad=BAD, ask_at=(BAD, BAD + 1, 12)),
    }
    sys.stdout.write(json.dumps(runs))
