"""Training steps on JAX: one program for the whole batch, whose rows lie on the devices of all workers.

The program is the one that a single device would run; XLA divides it and adds the exchanges. So gradients, moments of
BatchNorm and dropout masks are those of one worker by construction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax
import keras
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.distributed.gradient_tap import Tap, TracedTap
from graftwork_jobs.distributed.jax_collectives import devices_of_workers
from graftwork_jobs.distributed.optimizer import BadUpdate, bad_update
from graftwork_jobs.model.dropout import first_row
from graftwork_jobs.one_ahead import one_ahead, sent
from graftwork_jobs.train.objective import BatchLoss, TrainingModel, batch_sums

if TYPE_CHECKING:
    import tensorflow as tf
    from numpy.typing import NDArray

    from graftwork_jobs.targets.base import Target

_ROWS = "rows"
# Counts of steps wait on the device until so many have come together.
_MOST_PENDING = 256


class JaxSteps:
    """Meets `graftwork_jobs.train.steps.Steps`."""

    def __init__(
        self,
        model: TrainingModel,
        optimizer: keras.optimizers.Optimizer,
        target: Target,
        collectives: Collectives,
        tap: Tap | None = None,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._target = target
        self._loss = BatchLoss(target)
        self._tap = tap if isinstance(tap, TracedTap) else None
        self._is_alone = collectives.world == 1
        self._trained = list(optimizer._trainable_variables)  # noqa: SLF001 (Keras has no public name)
        trained = {id(variable) for variable in self._trained}
        self._others = [variable for variable in model.parts_variables if id(variable) not in trained]
        devices = [jax.local_devices()[0]] if self._is_alone else devices_of_workers()
        mesh, self._device = Mesh(devices, (_ROWS,)), devices[0]
        self._spread, self._same = NamedSharding(mesh, PartitionSpec(_ROWS)), NamedSharding(mesh, PartitionSpec())
        self._run = jax.jit(self._program, donate_argnums=(0, 1), out_shardings=self._same)
        self._compute_alone = jax.jit(self._alone)
        self._values: tuple[list[Any], list[Any], list[Any]] | None = None
        self._changed: set[int] = set()
        self._pending: list[Any] = []
        self._counted = np.zeros(target.tally_size + 2, np.float64)

    def batches(self, dataset: tf.data.Dataset) -> Iterator[Any]:
        """On the devices, each copied there while the step before it runs."""
        return one_ahead(map(self._put, dataset.as_numpy_iterator()))

    def run(self, batches: Iterator[Any], count: int) -> None:
        """That many runs of the compiled program, which JAX queues: Python is ahead of the device."""
        for _ in range(count):
            self._step(batches)

    def _step(self, batches: Iterator[Any]) -> Sequence[Any]:
        """A step; gives the gradients that the optimizer saw, where it has a tap."""
        batch = next(batches)
        trained, moments, others = self._values or self._taken()
        trained, moments, changes, sums, gradients = self._run(trained, moments, others, *batch)
        for position, value in changes.items():
            others[position] = value
        self._changed.update(changes)
        self._values = trained, moments, others
        self._pending.append(sums)
        if len(self._pending) >= _MOST_PENDING:
            self._add_up()
        return list(gradients)

    def settle(self) -> None:
        """Give the variables the values that the steps hold."""
        if self._values is None:
            return
        trained, moments, others = self._values
        changed = [(self._others[position], others[position]) for position in self._changed]
        pairs = [
            *zip(self._trained, trained, strict=True),
            *zip(self._optimizer.variables, moments, strict=True),
            *changed,
        ]
        for variable, value in pairs:
            variable.assign(value.addressable_data(0))
        self._values = None

    def bad_update(self) -> BadUpdate | None:
        """From what the steps hold; it stays there."""
        remembered = self._optimizer.first_bad_update
        if self._values is None:
            return bad_update(remembered.value)
        _, moments, _ = self._values
        place = next(place for place, each in enumerate(self._optimizer.variables) if each is remembered)
        return bad_update(moments[place].addressable_data(0))

    def count_from(self, counted: Sequence[float]) -> None:
        """The program counts for all workers, so each of them begins with what all had."""
        self._pending.clear()
        self._counted = np.array(counted, np.float64) if len(counted) else np.zeros_like(self._counted)

    def counted(self) -> NDArray[np.float64]:
        """Sums of whole batches, the same on all workers."""
        self._add_up()
        return self._counted.copy()

    def watched_update(self, batches: Iterator[Any], pieces: int) -> list[NDArray[Any]]:
        """The program gives them back."""
        gradients: Sequence[Any] = ()
        for _ in range(pieces):
            gradients = self._step(batches)
        seen = [np.asarray(gradient.addressable_data(0)) for gradient in gradients]
        self.settle()
        return seen

    def by_one(
        self, inputs: Any, targets: Any, weights: Any, *, first: int
    ) -> tuple[list[NDArray[Any]], NDArray[np.float64]]:
        """By another program, on this worker's device alone."""
        trained, others = ([variable.value for variable in group] for group in (self._trained, self._others))
        gradients, changes, sums = self._compute_alone(trained, others, inputs, targets, weights, first)
        for position, value in changes.items():
            self._others[position].assign(value)
        return [np.asarray(gradient) for gradient in gradients], np.asarray(sums, np.float64)

    def _add_up(self) -> None:
        # On the host: devices have no float64, which holds the exact count of any number of rows.
        for sums in jax.device_get([sums.addressable_data(0) for sums in self._pending]):
            self._counted += sums
        self._pending.clear()

    def _put(self, batch: Any) -> Any:
        """This worker's rows of a batch, on their way to the device."""
        if self._is_alone:
            return sent(batch, self._device)
        return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(self._spread, rows), batch)

    def _taken(self) -> tuple[list[Any], list[Any], list[Any]]:
        """The variables' values, on the devices that compute. From here on the variables' own may be gone."""
        self._changed.clear()
        groups = (self._trained, self._optimizer.variables, self._others)
        given: set[int] = set()
        trained, moments, others = ([self._placed(variable.value, given) for variable in group] for group in groups)
        return trained, moments, others

    def _placed(self, value: jax.Array, given: set[int]) -> jax.Array:
        """A value as the program takes it; a copy of one that another variable shares, as it is given up but once."""
        if id(value) in given:
            value = value.copy()
        given.add(id(value))
        return jax.make_array_from_single_device_arrays(value.shape, self._same, [value])

    def _program(
        self, trained: list[Any], moments: list[Any], others: list[Any], inputs: Any, targets: Any, weights: Any
    ) -> tuple[list[Any], list[Any], dict[int, Any], Any, list[Any]]:
        """One step as a pure function.

        Returns:
            Values after it, those of the other variables that changed, sums, and gradients where there is a tap.
        """
        gradients, changes, sums = self._gradients(trained, others, inputs, targets, weights)
        trained, moments = self._optimizer.stateless_apply(moments, gradients, trained)
        return trained, moments, changes, sums, self._tap.seen if self._tap is not None else []

    def _alone(
        self, trained: list[Any], others: list[Any], inputs: Any, targets: Any, weights: Any, first: Any
    ) -> tuple[list[Any], dict[int, Any], Any]:
        with first_row(first):
            return self._gradients(trained, others, inputs, targets, weights)

    def _gradients(
        self, trained: list[Any], others: list[Any], inputs: Any, targets: Any, weights: Any
    ) -> tuple[list[Any], dict[int, Any], Any]:
        """Gradients of the batch's loss, values of the other variables that changed, and sums."""

        def loss_of(trained: list[Any]) -> tuple[Any, Any]:
            mapping = [*zip(self._trained, trained, strict=True), *zip(self._others, others, strict=True)]
            with keras.StatelessScope(state_mapping=mapping, collect_losses=True) as scope:
                outputs = self._model(inputs, training=True)
                loss = self._loss(targets, outputs, sample_weight=weights)
                loss = sum(self._model.losses, start=loss)
                after = [scope.get_current_value(variable) for variable in self._others]
            changes = {
                position: value
                for position, (value, before) in enumerate(zip(after, others, strict=True))
                if value is not before
            }
            return loss, (outputs, changes)

        (_, (outputs, changes)), gradients = jax.value_and_grad(loss_of, has_aux=True)(trained)
        return gradients, changes, batch_sums(self._target, targets, outputs, weights)
