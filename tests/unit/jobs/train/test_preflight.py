"""Several workers are compared with one before they train, and every real fault is found and named."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from graftwork.errors import PermanentError
from graftwork_jobs.data.batch_plan import BatchPlan
from graftwork_jobs.distributed.batch_norm import synchronise
from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.distributed.gradient_tap import GradientTap
from graftwork_jobs.distributed.optimizer import averaging
from graftwork_jobs.features.batches import feature_train_batches
from graftwork_jobs.model.dropout import SlicedDropout
from graftwork_jobs.targets.classes import ClassTarget
from graftwork_jobs.train.checkpoint import values_of
from graftwork_jobs.train.objective import TrainingModel, with_validity
from graftwork_jobs.train.preflight import Passed, Subject, preflight
from graftwork_jobs.train.tensorflow_steps import TensorFlowSteps
from tests.unit.jobs.distributed.worlds import run_world

# Two updates of twelve rows, in two pieces each; the second update is padded.
EXAMPLES, SIDE, PIECES, BATCH = 21, 6, 2, 12
RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(EXAMPLES, SIDE)).astype(np.float32)
LABELS = RANDOM.integers(0, 3, EXAMPLES).astype(np.int32)
TARGET = ClassTarget(("a", "b", "c"))
ALONE = Collectives(rank=0, world=1)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How the workers are set up; each fault changes one thing about it.

    Attributes:
        trains: whether BatchNorm runs in training mode.
        plan: of a worker; may be given another one.
        batch_norm: collectives that BatchNorm uses.
        dropout_offset: first row of a worker's dropout masks.
        prepare: last touch on the network.
        feed: last touch on the elements that a worker is fed.
        activation: of the backbone.
        policy: what layers compute in.
    """

    trains: bool = True
    plan: Callable[[BatchPlan], BatchPlan] = lambda plan: plan
    batch_norm: Callable[[Collectives], Collectives] = lambda collectives: collectives
    dropout_offset: Callable[[BatchPlan], int] = lambda plan: plan.row_offset
    prepare: Callable[[int, keras.Model], None] = lambda _, __: None
    feed: Callable[[int, Any], Any] = lambda _, dataset: dataset
    optimizer: type[keras.optimizers.Optimizer] = field(default=keras.optimizers.Adam)
    activation: Any = "relu"
    policy: str = "float32"


def _dense(units: int, name: str, seed: int) -> keras.layers.Layer:
    return keras.layers.Dense(units, name=name, kernel_initializer=keras.initializers.GlorotUniform(seed=seed))


def _subject(collectives: Collectives, setting: Setting) -> Subject:
    plan = BatchPlan(batch_size=BATCH, pieces=PIECES, rank=collectives.rank, world=collectives.world)
    # Keras keeps one for each thread, which here is a worker.
    keras.config.set_dtype_policy(setting.policy)
    image = keras.Input((SIDE,))
    inner = keras.layers.BatchNormalization(name="bn")(_dense(8, "first", 1)(image))
    backbone = keras.Model(image, keras.layers.Activation(setting.activation)(inner))
    crossing = keras.Input((8,))
    dropout = SlicedDropout(0.4, seed=5, rows=plan.micro_rows, offset=setting.dropout_offset(plan), name="drop")
    head = keras.Model(crossing, _dense(3, "logits", 2)(dropout(crossing)))
    network = keras.Model(image, head(backbone(image)))
    synchronise(network, setting.batch_norm(collectives))
    setting.prepare(collectives.rank, network)
    model = TrainingModel(network, backbone=backbone, head=head, backbone_trains=setting.trains)
    tap = GradientTap()
    made: Any = averaging(setting.optimizer, collectives, tap)
    optimizer = made(learning_rate=0.01, gradient_accumulation_steps=PIECES)
    optimizer.build(model.trainable_variables)
    steps = TensorFlowSteps(model, optimizer, TARGET, collectives, tap, run_eagerly=True)

    def batches(plan: BatchPlan) -> Any:
        options: dict[str, Any] = {"seed": 3, "phase": 0, "epoch": 0, "row_weights": None}
        return feature_train_batches([FEATURES], LABELS, plan, **options)

    return Subject(
        phase="tune",
        steps=steps,
        model=model,
        variables=network.variables,
        optimizer=optimizer,
        together=setting.feed(collectives.rank, batches(setting.plan(plan))).map(with_validity),
        by_one=batches(replace(plan, rank=0, world=1)).map(with_validity),
        pieces=PIECES,
        rows_per_worker=plan.rows_per_rank,
        whole=setting.trains,
    )


def _state(subject: Subject) -> list[np.ndarray]:
    return values_of([*subject.variables, *subject.optimizer.variables])


@pytest.mark.parametrize("trains", [True, False], ids=["batch statistics", "moving statistics"])
@pytest.mark.parametrize("world", [2, 3, 5])
def test_workers_that_agree_pass_and_nothing_moves(world: int, trains: bool) -> None:
    """Weights, optimizer, statistics and dropout's state are the same to the last bit."""

    def work(collectives: Collectives) -> tuple[Passed, list[np.ndarray], list[np.ndarray]]:
        subject = _subject(collectives, Setting(trains=trains))
        before = _state(subject)
        passed = preflight(subject, collectives, updates=2)
        return passed, before, _state(subject)

    for passed, before, after in run_world(world, work):
        assert passed.updates == 2
        assert passed.largest < 0.1
        for one, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(one, other)


def test_the_comparison_is_of_something() -> None:
    """Within the two updates weights do move: an update that does nothing would agree with anything."""
    seen: list[float] = []

    def work(collectives: Collectives) -> None:
        subject = _subject(collectives, Setting())
        start = values_of(subject.variables)
        step = subject.model.train_function

        def watched(iterator: Any) -> Any:
            result = step(iterator)
            moved = zip(start, values_of(subject.variables), strict=True)
            seen.append(max(float(np.abs(one - other).max()) for one, other in moved))
            return result

        subject.model.train_function = watched
        preflight(subject, collectives, updates=2)

    run_world(2, work)
    assert max(seen) > 0.005


def _other_weight(rank: int, network: keras.Model) -> None:
    if rank == 1:
        kernel = next(variable for variable in network.trainable_variables if variable.path.endswith("first/kernel"))
        kernel.assign_add(np.eye(SIDE, 8) * 0.25)


def _other_statistic(rank: int, network: keras.Model) -> None:
    if rank == 1:
        mean = next(variable for variable in network.variables if variable.path.endswith("moving_mean"))
        mean.assign_add(np.arange(8))


def _count_padding(rank: int, dataset: Any) -> Any:
    """Every row counts, padding too."""
    return dataset.map(lambda values, labels, weights: (values, labels, weights * 0 + 1))


FAULTS = {
    "another weight": (Setting(prepare=_other_weight), r"first/kernel on worker 1 at \[\d+, \d+\]: .* on worker 0"),
    "another statistic": (Setting(prepare=_other_statistic), r"moving_mean on worker 1 at \[7\]: 7, 0 on worker 0"),
    "unsynchronised batch norm": (Setting(batch_norm=lambda _: ALONE), r"(gradient of|statistic) .*"),
    "dropout masks of another worker": (Setting(dropout_offset=lambda _: 0), r"gradient of .*"),
    "rows of another worker": (Setting(plan=lambda plan: replace(plan, rank=0)), r".* on 2 workers, .* on one"),
    "padding that counts": (Setting(feed=_count_padding), r"number of examples: \d+ on 2 workers, \d+ on one"),
}


def _refusal(setting: Setting, world: int = 2) -> str:
    """What a preflight says; all workers stop with the same words."""

    def work(collectives: Collectives) -> str:
        with pytest.raises(PermanentError) as caught:
            preflight(_subject(collectives, setting), collectives, updates=2)
        return str(caught.value)

    texts = set(run_world(world, work))
    assert len(texts) == 1
    return texts.pop()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_stops_all_workers_with_its_name(fault: str) -> None:
    """Phase, what differs most, and both values."""
    setting, named = FAULTS[fault]
    text = _refusal(setting)
    assert text.startswith("preflight of phase tune: 2 workers do not compute what one worker computes")
    assert re.search(f"Largest difference: .*{named}", text), text
    assert "scaling.preflight: none" in text


@pytest.mark.parametrize("broken", ["sum for mean", "own for all", "nothing"])
def test_a_broken_average_is_found(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever takes its place: the gradient, both values and the variable are named."""
    real = Collectives.mean_of_all

    def average(self: Collectives, values: Any, *, name: str) -> Any:
        match broken:
            case "sum for mean":
                return [value * self.world for value in real(self, values, name=name)]
            case "own for all":
                return list(values)
            case _:
                return [value * 0 for value in values]

    monkeypatch.setattr(Collectives, "mean_of_all", average)
    assert re.search(r"gradient of .*: \S+ on 2 workers, \S+ on one", _refusal(Setting()))


def test_an_optimizer_that_is_not_asked_to_average_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Keras that calls its optimizers in another way must not train without averages."""

    def work(collectives: Collectives) -> str:
        subject = _subject(collectives, Setting())
        subject.optimizer._clip_gradients = lambda gradients: gradients
        with pytest.raises(PermanentError) as caught:
            preflight(subject, collectives, updates=1)
        return str(caught.value)

    # The workers' weights part ways first or the missing average is told: either way nobody trains.
    for text in run_world(1, work):
        assert "the optimizer averaged 0 gradients, expected 6" in text


def _steepen(factor: float) -> Callable[[int, keras.Model], None]:
    """So steep that a change in a weight's last bit moves gradients far, through a sine."""

    def prepare(_: int, network: keras.Model) -> None:
        kernel = next(variable for variable in network.trainable_variables if variable.path.endswith("first/kernel"))
        kernel.assign(kernel * factor)

    return prepare


def _shifted(share: float) -> Callable[[int, Any], Any]:
    def feed(rank: int, dataset: Any) -> Any:
        factor = 1.0 + share * rank
        return dataset.map(
            lambda inputs, labels, weights: (tf.nest.map_structure(lambda x: x * factor, inputs), labels, weights)
        )

    return feed


@pytest.mark.parametrize(
    ("policy", "steepness", "last_bit", "fault"),
    [("float32", 5e5, 2.0**-23, 1e-2), ("mixed_bfloat16", 3.0, 2.0**-8, 0.1)],
    ids=["float32", "bfloat16"],
)
def test_a_network_that_rounding_moves_far_is_no_fault(
    policy: str, steepness: float, last_bit: float, fault: float
) -> None:
    """Where workers round differently and the network makes much of it, so does one worker; a real fault is found."""
    rounded = Setting(
        trains=False,
        activation=keras.ops.sin,
        prepare=_steepen(steepness),
        feed=_shifted(last_bit),
        policy=policy,
    )

    def work(collectives: Collectives) -> Passed:
        return preflight(_subject(collectives, rounded), collectives, updates=1)

    assert len(run_world(2, work)) == 2
    assert "on 2 workers" in _refusal(replace(rounded, feed=_shifted(fault)))


def test_a_gradient_that_is_not_a_number_is_left_to_training() -> None:
    """Where one worker diverges too, the workers agree."""
    spoiled = Setting(prepare=_spoil)

    def work(collectives: Collectives) -> Passed:
        return preflight(_subject(collectives, spoiled), collectives, updates=1)

    assert len(run_world(2, work)) == 2


def _spoil(rank: int, network: keras.Model) -> None:
    bias = next(variable for variable in network.trainable_variables if variable.path.endswith("logits/bias"))
    bias.assign([np.nan, 0.0, 0.0])
