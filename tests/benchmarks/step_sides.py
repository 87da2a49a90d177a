"""Both sides of `bench_gpu.py`: a phase's training step as a worker builds it, and plain Keras on JAX.

The plain side is what a user writes from the Keras transfer-learning guide: a backbone that is called with
`training=False`, pooling, a fully connected layer, `compile`, `fit`. While it trains, unfrozen BatchNorm layers use the
batch's statistics all the same (Keras 3.15 lets the `training` of the outer call win), so the job does, too
(`batchNorm: train`): both sides compute the same. Source: https://keras.io/guides/transfer_learning/ (read, not
copied).

Nothing here needs TensorFlow or Ray, so that it runs wherever JAX does.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
from numpy.typing import NDArray

from graftwork.progress import SilentReporter
from graftwork.spec.fine_tune_job import FineTuneJobSpec
from graftwork_jobs.distributed.batch_norm import synchronise
from graftwork_jobs.distributed.gradient_tap import TracedTap
from graftwork_jobs.distributed.jax_collectives import JaxCollectives
from graftwork_jobs.features.phase_cut import PhaseCut, cut_for_phase
from graftwork_jobs.model.for_input import backbone_trains_as_in_training, load_job_backbone
from graftwork_jobs.model.forward import compiled_forward
from graftwork_jobs.model.freeze import apply_freeze
from graftwork_jobs.model.network import DropoutSlice, Network, build_network
from graftwork_jobs.model.stages import stages_of
from graftwork_jobs.one_ahead import one_ahead
from graftwork_jobs.targets.classes import ClassTarget
from graftwork_jobs.train.evaluate import Evaluator
from graftwork_jobs.train.jax_steps import JaxSteps
from graftwork_jobs.train.objective import TrainingModel
from graftwork_jobs.train.optimizers import Schedule, ScheduledLearningRate, make_optimizer

LITE0 = Path(__file__).resolve().parents[2] / "examples" / "efficientnet_lite0" / "efficientnet_lite0.keras"
LITE0_OUTPUT = "head_relu"
CLASSES = 10
RATE = 1e-3
TARGET = ClassTarget(tuple(str(number) for number in range(CLASSES)))
# As in `graftwork_jobs.train.epoch`.
_CHECK_EVERY = 16

Element = tuple[NDArray[np.float32], NDArray[np.int32]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is trained.

    Attributes:
        network: `lite0`, EfficientNet-Lite0 with ImageNet weights, or a name of `keras.applications` with random ones.
        unfreeze: share of the backbone's layers that train, the last ones; 0 for the head alone.
        precision: `float32` or `mixed_bfloat16`.
        size: height and width of pictures.
        batch: rows of a step.
        batch_norm: mode of unfrozen BatchNorm layers of the job; `train` is what plain Keras does.
        optimizer: as in a spec, `adam` or `sgd`.
    """

    network: str
    unfreeze: float
    precision: str
    size: int
    batch: int
    batch_norm: str = "train"
    optimizer: str = "adam"

    def spec(self) -> FineTuneJobSpec:
        """The job."""
        backbone = {"path": str(LITE0), "outputLayer": LITE0_OUTPUT} if self.network == "lite0" else {}
        return FineTuneJobSpec.model_validate(
            {
                "task": "image-classification",
                "backbone": backbone or {"name": self.network, "weights": "none"},
                "input": {"imageSize": [self.size, self.size]},
                "data": {"train": {"uri": "pictures"}},
                "head": {"dropout": 0.0},
                "phases": [
                    {
                        "name": "phase",
                        "epochs": 1,
                        "learningRate": RATE,
                        "unfreeze": _unfreeze(self.unfreeze),
                    }
                ],
                "training": {
                    "batchSize": self.batch,
                    "backend": "jax",
                    "batchNorm": self.batch_norm,
                    "optimizer": self.optimizer,
                },
            }
        )


def _unfreeze(share: float) -> Any:
    return {0.0: "none", 1.0: "all"}.get(share) or {"fraction": share}


@dataclass(frozen=True)
class Batches:
    """Ready batches, one after the other and over again; stands in for a `tf.data.Dataset`."""

    elements: Sequence[Element]
    count: int

    def as_numpy_iterator(self) -> Iterator[Any]:
        """As `with_validity` gives them."""
        for values, targets in itertools.islice(itertools.cycle(self.elements), self.count):
            ones = np.ones(len(targets), np.float32)
            yield {"values": values, "valid": ones}, targets, ones


def make_batches(shape: tuple[int, ...], rows: int, *, count: int, largest: float) -> list[Element]:
    """Random rows with random classes, from 0 to `largest`."""
    random = np.random.default_rng(0)
    return [
        (random.uniform(0, largest, (rows, *shape)).astype(np.float32), random.integers(0, CLASSES, rows, np.int32))
        for _ in range(count)
    ]


class GraftSide:
    """A phase's steps as a worker that is alone builds them (`train/binding.py`, `train/phase_parts.py`)."""

    def __init__(self, case: Case, *, on_features: bool = False, watched: bool = False) -> None:
        keras.config.set_dtype_policy(case.precision)
        spec, alone = case.spec(), JaxCollectives(rank=0, world=1)
        phase = spec.phases[0]
        self.network = _network(spec, case.batch)
        stage = stages_of(self.network, phase)[0]
        apply_freeze(self.network, stage.boundary)
        self.cut: PhaseCut | None = cut_for_phase(self.network, stage.boundary)
        network, trains = self.network, self.network.batch_norm_training
        if on_features and self.cut is not None:
            self.model = TrainingModel(
                network.model, backbone=self.cut.rest, head=self.cut.head, backbone_trains=trains
            )
        else:
            self.model = TrainingModel(
                network.model, backbone=network.backbone, head=network.head, backbone_trains=trains
            )
        tap = TracedTap() if watched else None
        rate = ScheduledLearningRate(Schedule.of_phase(phase, 1000), pieces=1)
        self.optimizer = make_optimizer(spec.training, rate, network.model.trainable_variables, alone.in_step, tap)
        self.steps = JaxSteps(self.model, self.optimizer, TARGET, alone, tap)

    def run(self, elements: Sequence[Element], count: int) -> float:
        """That many steps, as an epoch goes through them; gives the mean loss."""
        dataset: Any = Batches(elements, count)
        batches = self.steps.batches(dataset)
        self.steps.count_from(())
        for step in range(1, count + 1):
            self.steps.run(batches, 1)
            if step % _CHECK_EVERY == 0 or step == count:
                bad = self.steps.bad_update()
                if bad is not None:
                    raise SystemExit(f"a gradient is not finite: {bad}")
        self.steps.settle()
        loss, *_, rows = self.steps.counted().tolist()
        return float(loss / rows)

    def weights(self) -> list[NDArray[np.float32]]:
        """Of the whole network, statistics included, layer by layer."""
        return _weights(self.network.model)


def _weights(model: keras.Model) -> list[NDArray[np.float32]]:
    return [np.asarray(variable.value) for variable in model.variables if variable.dtype == "float32"]


def _network(spec: FineTuneJobSpec, batch: int) -> Network:
    backbone, _ = load_job_backbone(spec, base_dir=LITE0.parent, weights_dir=LITE0.parent, reporter=SilentReporter())
    network = build_network(
        backbone,
        spec.head,
        outputs=CLASSES,
        seed=0,
        batch_norm_training=backbone_trains_as_in_training(spec),
        dropout_slice=DropoutSlice(rows=batch, offset=0),
    )
    synchronise(network.model, JaxCollectives(rank=0, world=1).in_step)
    return network


class PlainSide:
    """What a user writes."""

    def __init__(self, case: Case, *, features: tuple[int, ...] | None = None) -> None:
        keras.config.set_dtype_policy(case.precision)
        self.backbone: keras.Model | None = None
        inputs = keras.Input(features or (case.size, case.size, 3))
        vector = inputs
        if features is None:
            self.backbone, vector = _plain_backbone(case, inputs)
            vector = keras.layers.GlobalAveragePooling2D(dtype="float32")(vector)
        logits = keras.layers.Dense(CLASSES, kernel_initializer="zeros", dtype="float32")(vector)
        self.model = keras.Model(inputs, logits)
        self.model.compile(
            keras.optimizers.SGD(RATE, momentum=0.9) if case.optimizer == "sgd" else keras.optimizers.Adam(RATE),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )

    def run(self, elements: Sequence[Element], count: int) -> float:
        """That many steps; gives the mean loss."""
        batches = (element for element in itertools.islice(itertools.cycle(elements), count))
        fitted = self.model.fit(batches, steps_per_epoch=count, verbose=0)
        jax.block_until_ready([variable.value for variable in self.model.variables])
        return float(fitted.history["loss"][0])

    def weights(self) -> list[NDArray[np.float32]]:
        """Of the whole network, statistics included, layer by layer."""
        return _weights(self.model)


def _plain_backbone(case: Case, inputs: Any) -> tuple[keras.Model, Any]:
    """A backbone, partly frozen, and its feature map."""
    if case.network == "lite0":
        original = keras.models.load_model(LITE0)
        config = original.get_config()
        for layer in config["layers"][1:]:
            layer["config"]["dtype"] = case.precision
        config["layers"][0]["config"]["batch_shape"] = (None, case.size, case.size, 3)
        clone = keras.Model.from_config(config)
        clone.set_weights(original.get_weights())
        backbone = keras.Model(clone.inputs, clone.get_layer(LITE0_OUTPUT).output)
        scaled = inputs
    else:
        make = getattr(keras.applications, case.network)
        backbone = make(include_top=False, weights=None, input_shape=(case.size, case.size, 3))
        scaled = keras.applications.resnet.preprocess_input(inputs) if "ResNet" in case.network else inputs
    backbone.trainable = case.unfreeze > 0
    # Neither scaling nor pooling is a layer to unfreeze.
    layers = [layer for layer in backbone.layers if layer.weights]
    first = len(layers) - round(case.unfreeze * len(layers))
    if case.unfreeze:
        frozen = layers[:first]
        for layer in frozen:
            layer.trainable = False
    return backbone, backbone(scaled, training=False)


class GraftFeatures:
    """The frozen trunk of a head phase, as features are extracted (`features/extract.py`)."""

    def __init__(self, case: Case) -> None:
        cut = GraftSide(case).cut
        if cut is None:
            raise SystemExit("the network cannot be cut")
        self._forward = compiled_forward(cut.trunk)
        self._shape = cut.shape

    def run(self, elements: Sequence[Element], count: int) -> float:
        """Features of that many batches; gives their mean."""
        rows = len(elements[0][1])
        kept = np.empty((rows * count, *self._shape), np.float32)
        batches: Any = (values for values, _ in itertools.islice(itertools.cycle(elements), count))
        for number, values in enumerate(map(np.asarray, one_ahead(map(self._forward, batches)))):
            kept[number * rows : (number + 1) * rows] = values
        return float(kept[: rows * len(elements)].mean())


class PlainFeatures:
    """The same with `predict`."""

    def __init__(self, case: Case) -> None:
        plain = PlainSide(case)
        self._model = keras.Model(plain.model.inputs, plain.model.layers[-2].output)

    def run(self, elements: Sequence[Element], count: int) -> float:
        """Features of that many batches; gives their mean."""
        batches = ((values,) for values, _ in itertools.islice(itertools.cycle(elements), count))
        kept = self._model.predict(batches, steps=count, verbose=0)
        return float(kept[: len(elements[0][1]) * len(elements)].mean())


class GraftValidation:
    """Figures of an epoch's validation (`train/evaluate.py`)."""

    def __init__(self, case: Case) -> None:
        alone = JaxCollectives(rank=0, world=1)
        self._evaluator = Evaluator(GraftSide(case).network.model, TARGET, alone)

    def run(self, elements: Sequence[Element], count: int) -> float:
        """The mean loss of that many batches."""
        batches: Any = itertools.islice(itertools.cycle(elements), count)
        return self._evaluator.figures(batches, pulse=lambda: None)["loss"]


class PlainValidation:
    """The same with `evaluate`."""

    def __init__(self, case: Case) -> None:
        self._model = PlainSide(case).model

    def run(self, elements: Sequence[Element], count: int) -> float:
        """The mean loss of that many batches."""
        batches = (element for element in itertools.islice(itertools.cycle(elements), count))
        found: dict[str, float] = self._model.evaluate(batches, steps=count, verbose=0, return_dict=True)
        return found["loss"]
