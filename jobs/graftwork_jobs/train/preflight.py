"""Before a phase on several workers: do they compute what one worker computes on the same batches?

A few updates are made for good, with the phase's compiled step and optimizer, and taken back. For each of them rank 0
works out alone, from the same weights and without the compiled step, the optimizer and the collectives, what the
averaged gradient, the metric sums and the statistics of BatchNorm should be. All weights must also be the same on all
workers, before and after. Whatever differs by more than rounding stops the job: trained on, it would give a model that
nobody asked for, and nothing would show it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import NDArray

from graftwork.errors import PermanentError
from graftwork_jobs.distributed.collectives import Collectives
from graftwork_jobs.train.checkpoint import Arrays, assign, values_of
from graftwork_jobs.train.steps import Steps

if TYPE_CHECKING:
    import tensorflow as tf

UPDATES = 2
"""Weight updates that are compared; the second one starts from weights that the first has moved."""
# Sums of float32 in another order, through a hundred layers, differ by 1e-6 to 1e-4 of the largest value; a missing
# average, a row counted twice or a state of its own differ by a tenth of it and more. bfloat16 keeps 8 bits, not 24.
_ROUNDING = {"float32": 1e-2, "bfloat16": 1e-1}
# A gradient that should be zero, such as that of a bias before BatchNorm, is rounding of the others: compared with the
# largest of all.
_OF_THE_LARGEST = 1e-2
# Where that is exceeded, rounding is measured: how often, by how much weights are moved for it (in float32 by what sums
# of a thousand terms round, some ten times the last bit; in bfloat16 by what is rounded off a weight, as less would be
# lost in that), how much more than was seen counts as rounding, and what never does.
_NUDGES = 3
_NUDGE = {"float32": 16 * float(np.finfo(np.float32).eps), "bfloat16": 2.0**-8}
_OF_THE_SPREAD = 4.0
_AT_MOST = 0.25


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The largest difference of one thing that was compared.

    Attributes:
        what: in words, such as `gradient of head/logits/kernel at [3, 1]`.
        together: value on all workers.
        expected: value on one worker, or on rank 0.
        allowed: by how much rounding may move it.
        is_ours: whether `expected` is what one worker computes; otherwise it is rank 0's value of the same variable.
    """

    what: str
    together: float
    expected: float
    allowed: float
    is_ours: bool = True

    @property
    def excess(self) -> float:
        """How many times what rounding explains; not finite values exceed everything unless they are equal."""
        if np.isfinite(self.together) and np.isfinite(self.expected):
            return abs(self.together - self.expected) / self.allowed
        return 0.0 if str(self.together) == str(self.expected) else float("inf")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is put to the test.

    Attributes:
        phase: its name.
        steps: of the phase, whose optimizer shows its gradients.
        model: what they train.
        variables: of the whole network, in an order that is the same on all workers.
        optimizer: of the phase.
        together: this worker's share of the batches.
        by_one: the same batches whole; only rank 0 goes through them.
        pieces: steps that make one update.
        rows_per_worker: of a step; rank 0 goes through a batch in parts of that size, so it needs no more memory.
        whole: whether rows of a batch depend on each other (BatchNorm in training mode), so that parts will not do.
    """

    phase: str
    steps: Steps
    model: keras.Model
    variables: Sequence[keras.Variable]
    optimizer: keras.optimizers.Optimizer
    together: tf.data.Dataset
    by_one: tf.data.Dataset
    pieces: int
    rows_per_worker: int
    whole: bool


@dataclass(frozen=True, kw_only=True)
class Passed:
    """A preflight without findings.

    Attributes:
        seconds: it took.
        updates: that were compared.
        largest: difference of a gradient, as a share of what rounding may cause.
    """

    seconds: float
    updates: int
    largest: float


def preflight(subject: Subject, collectives: Collectives, *, updates: int) -> Passed:
    """Compare all workers with one. Leaves weights, optimizer, statistics, dropout's state as they were.

    All workers must call it alike.

    Raises:
        PermanentError: they differ; on all workers, with the largest difference.
    """
    began = time.perf_counter()
    largest = 0.0
    with _taken_back([*subject.variables, *subject.optimizer.variables]):
        _refuse(subject, collectives, _differing_weights(subject.variables, collectives))
        together, by_one = subject.steps.batches(subject.together), subject.by_one.as_numpy_iterator()
        for _ in range(updates):
            before = values_of(subject.variables)
            subject.steps.count_from(())
            gradients = subject.steps.watched_update(together, subject.pieces)
            sums = subject.steps.counted()
            after = values_of(subject.variables)
            differences: list[Difference] = []
            if collectives.rank == 0:
                batch = [next(by_one) for _ in range(subject.pieces)]
                expected = _by_one(subject, before, batch)
                differences = _compare(subject, expected, gradients, sums, after)
                if any(each.excess > 1 for each in differences):
                    spread = _spread(subject, before, batch, expected)
                    differences = _compare(subject, expected, gradients, sums, after, spread)
                assign(subject.variables, after)
            _refuse(subject, collectives, differences)
            largest = max([largest, *(each.excess for each in differences)])
        _refuse(subject, collectives, _differing_weights(subject.variables, collectives))
    return Passed(seconds=time.perf_counter() - began, updates=updates, largest=largest)


@contextmanager
def _taken_back(variables: Sequence[keras.Variable]) -> Iterator[None]:
    values = values_of(variables)
    try:
        yield
    finally:
        assign(variables, values)


@dataclass(frozen=True, kw_only=True)
class _Expected:
    """What one worker gets from the same batches: gradients of the trainable variables, metric sums, end state."""

    gradients: list[NDArray[Any]]
    sums: NDArray[np.float64]
    state: Arrays


def _by_one(subject: Subject, start: Arrays, batch: Sequence[Any]) -> _Expected:
    """From the weights at the start, by the pieces of one batch."""
    assign(subject.variables, start)
    trainable = subject.model.trainable_variables
    totals: list[NDArray[Any]] = [np.zeros(variable.shape, np.float64) for variable in trainable]
    sums: Any = 0.0
    for element in batch:
        rows = len(element[-1])
        part = rows if subject.whole else min(rows, subject.rows_per_worker)
        # Each part must draw the dropout masks that the whole batch would.
        state = values_of(subject.variables)
        for first in range(0, rows, part):
            assign(subject.variables, state)
            own = slice(first, min(first + part, rows))
            gradients, counted = subject.steps.by_one(*_rows_of(element, own), first=first)
            share = (own.stop - own.start) / rows / subject.pieces
            totals = [total + share * gradient for total, gradient in zip(totals, gradients, strict=True)]
            sums = sums + counted
    return _Expected(gradients=totals, sums=sums, state=values_of(subject.variables))


def _spread(subject: Subject, start: Arrays, batch: Sequence[Any], expected: _Expected) -> list[float]:
    """By how much rounding moves each gradient of this network, found by moving its weights by as little.

    In a deep network with random weights and kinks such as ReLU's, a change in the last bit turns examples over at some
    kinks, and the gradients of layers below move by several hundredths.

    Returns:
        Largest absolute difference of each gradient.
    """
    generator = np.random.default_rng(0)
    spread = [0.0] * len(expected.gradients)
    nudge = _NUDGE[_precision(subject.model)]
    for _ in range(_NUDGES):
        nudged = [_nudged(each, nudge, generator) for each in start]
        found = _by_one(subject, nudged, batch).gradients
        gaps = [
            float(np.abs(one - other).max(initial=0.0)) for one, other in zip(found, expected.gradients, strict=True)
        ]
        spread = [max(pair) for pair in zip(spread, gaps, strict=True)]
    return spread


def _nudged(values: NDArray[Any], nudge: float, generator: np.random.Generator) -> NDArray[Any]:
    if values.dtype != np.float32:
        return values
    change = generator.uniform(-1, 1, values.shape) * nudge
    return (values * (1 + change)).astype(np.float32)


def _rows_of(element: Any, rows: slice) -> Any:
    return keras.tree.map_structure(lambda array: array[rows], element)


def _compare(
    subject: Subject,
    expected: _Expected,
    gradients: list[NDArray[Any]],
    sums: NDArray[np.float64],
    after: Arrays,
    spread: Sequence[float] | None = None,
) -> list[Difference]:
    """The largest difference of each gradient, sum and statistic.

    Args:
        spread: by how much rounding was seen to move each gradient; None: not measured.
    """
    if len(gradients) != len(expected.gradients):
        raise PermanentError(
            f"preflight of phase {subject.phase}: the optimizer averaged {len(gradients)} gradients, expected "
            f"{len(expected.gradients)}, one for each variable that trains. This Keras version calls the optimizer in "
            "another way than Graftwork knows; install the version that Graftwork asks for."
        )
    share = _ROUNDING[_precision(subject.model)]
    largest = max((float(np.abs(each).max(initial=0.0)) for each in expected.gradients), default=0.0)
    found = []
    seen = [0.0] * len(gradients) if spread is None else spread
    compared = zip(subject.model.trainable_variables, gradients, expected.gradients, seen, strict=True)
    for variable, got, wanted, moved in compared:
        size = max(float(np.abs(wanted).max(initial=0.0)), _OF_THE_LARGEST * largest)
        allowed = max(share * size, min(_OF_THE_SPREAD * moved, _AT_MOST * size))
        found.append(_largest(f"gradient of {variable.path}", got, wanted, allowed))
    found.extend(_sum_differences(sums, expected.sums, share))
    if subject.whole:
        for variable, got, wanted in zip(subject.variables, after, expected.state, strict=True):
            if not variable.trainable and wanted.dtype.kind == "f":
                allowed = share * max(float(np.abs(wanted).max(initial=0.0)), 1e-3)
                found.append(_largest(f"statistic {variable.path}", got, wanted, allowed))
    return found


def _sum_differences(sums: NDArray[np.float64], expected: NDArray[np.float64], share: float) -> Iterator[Difference]:
    """Rows must be counted exactly; an example may change sides where two answers tie; other sums are rounded."""
    *got, got_rows = sums.tolist()
    *wanted, rows = expected.tolist()
    yield Difference(what="number of examples", together=got_rows, expected=rows, allowed=1e-3)
    for position, (one, other) in enumerate(zip(got, wanted, strict=True)):
        allowed = share * max(abs(other), rows)
        if one.is_integer() and other.is_integer():
            allowed = max(1.0, allowed)
        name = "sum of losses" if position == 0 else f"metric sum {position}"
        yield Difference(what=name, together=one, expected=other, allowed=allowed)


def _largest(what: str, got: NDArray[Any], wanted: NDArray[Any], allowed: float) -> Difference:
    """The element that differs most; one that is not a number on one side only comes first."""
    one, other = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    with np.errstate(invalid="ignore"):
        gap = np.abs(one - other)
    gap = np.where(np.isnan(gap), np.where(np.isnan(one) & np.isnan(other), 0.0, np.inf), gap)
    place = np.unravel_index(int(np.argmax(gap)), gap.shape) if gap.size else ()
    where = f" at [{', '.join(str(int(index)) for index in place)}]" if place else ""
    if not gap.size:
        return Difference(what=what, together=0.0, expected=0.0, allowed=1.0)
    # Nothing may differ where nothing flows; any positive number keeps the ratio finite.
    return Difference(
        what=what + where, together=float(one[place]), expected=float(other[place]), allowed=max(allowed, 1e-30)
    )


def _differing_weights(variables: Sequence[keras.Variable], collectives: Collectives) -> list[Difference]:
    """Variables that are not the same on all workers; told by rank 0. Only digests travel where all are well."""
    digests = np.zeros((collectives.world, len(variables)), np.int64)
    digests[collectives.rank] = [_digest(variable) for variable in variables]
    digests = collectives.sum_array(digests)
    found = []
    for position in np.flatnonzero((digests != digests[0]).any(axis=0)).tolist():
        rank = int(np.flatnonzero(digests[:, position] != digests[0, position])[0])
        variable = variables[position]
        own = np.asarray(keras.ops.convert_to_numpy(variable.value)).astype(np.float64)
        pair = [collectives.sum_array(own if collectives.rank == owner else np.zeros_like(own)) for owner in (rank, 0)]
        scale = float(np.abs(pair[1]).max(initial=0.0))
        difference = _largest(f"{variable.path} on worker {rank}", pair[0], pair[1], 1e-5 * scale)
        found.append(
            Difference(
                what=difference.what,
                together=difference.together,
                expected=difference.expected,
                allowed=difference.allowed,
                is_ours=False,
            )
        )
    return found if collectives.rank == 0 else []


def _digest(variable: keras.Variable) -> int:
    content = np.ascontiguousarray(keras.ops.convert_to_numpy(variable.value)).tobytes()
    # 48 bits: the sum over workers, of which all but one add zero, must not overflow.
    return int.from_bytes(hashlib.sha256(content).digest()[:6], "big")


def _refuse(subject: Subject, collectives: Collectives, differences: Sequence[Difference]) -> None:
    """Stop all workers if rank 0 found a difference beyond rounding.

    Raises:
        PermanentError: it did.
    """
    worst = max(differences, key=lambda each: each.excess, default=None)
    text = _message(subject.phase, collectives.world, worst) if worst is not None and worst.excess > 1 else ""
    text = _tell_all(text, collectives)
    if text:
        raise PermanentError(text)


def _message(phase: str, world: int, worst: Difference) -> str:
    gap = abs(worst.together - worst.expected)
    if worst.is_ours:
        values = f"{worst.together:.8g} on {world} workers, {worst.expected:.8g} on one"
    else:
        values = f"{worst.together:.8g}, {worst.expected:.8g} on worker 0"
    return (
        f"preflight of phase {phase}: {world} workers do not compute what one worker computes on the same batches. "
        f"Largest difference: {worst.what}: {values} (difference {gap:.3g}, rounding explains {worst.allowed:.3g}). "
        "Nothing of this phase was trained. Set scaling.workers to 1, which needs no agreement, and report this "
        "message with the spec; scaling.preflight: none trains without the comparison."
    )


def _tell_all(text: str, collectives: Collectives) -> str:
    """Rank 0's text on every worker."""
    own = np.frombuffer(text.encode(), np.uint8).astype(np.int64)
    length = int(collectives.sum_array(np.array([own.size if collectives.rank == 0 else 0], np.int64))[0])
    if length == 0:
        return ""
    sent = own if collectives.rank == 0 else np.zeros(length, np.int64)
    return bytes(collectives.sum_array(sent).astype(np.uint8)).decode()


def _precision(model: keras.Model) -> str:
    """The lowest that any of its layers computes in."""
    layers = model._flatten_layers(recursive=True)  # noqa: SLF001 (the layers of nested models too)
    return "bfloat16" if any(layer.compute_dtype != "float32" for layer in layers) else "float32"


__all__ = ["UPDATES", "Difference", "Passed", "Subject", "preflight"]
