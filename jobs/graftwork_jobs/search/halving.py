"""Asynchronous successive halving whose decisions do not depend on the speed of the machine. Pure.

At a rung, a trial goes on if it is among the best share of the trials that reached the rung, itself included. In ASHA
that means the trials that happened to get there first; here it means those with lower numbers, which a trial waits for.
So the same trials are ended early however many run at a time, and after an interruption, too.

Source: Li et al., A System for Massively Parallel Hyperparameter Tuning (MLSys 2020, arXiv:1810.05934), algorithm 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

REDUCTION = 3
"""One trial in three goes on at each rung. Source: the paper's experiments use 3 and 4."""
_RUNGS = 2


def rungs_of(epochs: int) -> tuple[int, ...]:
    """Numbers of epochs after which trials are compared, for trials of at most so many.

    None where that would leave less than one epoch between them.
    """
    rungs = {round(epochs / REDUCTION**power) for power in range(1, _RUNGS + 1)}
    return tuple(sorted(rung for rung in rungs if 0 < rung < epochs))


@dataclass(kw_only=True)
class Halving:
    """What is known about trials at the rungs.

    Attributes:
        rungs: numbers of epochs, ascending.
        higher_is_better: the direction of the values.
        values: by trial: its best value after each epoch that is known.
        ended: by trial that will bring nothing more: whether it came to its own end.
    """

    rungs: Sequence[int]
    higher_is_better: bool
    values: dict[int, list[float]] = field(default_factory=dict)
    ended: dict[int, bool] = field(default_factory=dict)

    def report(self, trial: int, epoch: int, value: float) -> None:
        """Take a trial's value of one epoch (from 1). A trial that was started over reports its first epochs again."""
        known = self.values.setdefault(trial, [])
        del known[epoch - 1 :]
        best = value if not known else max(known[-1], value) if self.higher_is_better else min(known[-1], value)
        known.append(best)

    def end(self, trial: int, *, finished: bool) -> None:
        """No more values of a trial will come: it came to its own end, or was ended or failed."""
        self.ended[trial] = finished

    def may_go_on(self, trial: int, epoch: int) -> bool | None:
        """Whether a trial may go on after an epoch; None while that depends on trials that are still on their way.

        All trials with lower numbers must have been begun.
        """
        if epoch not in self.rungs:
            return True
        others = range(trial)
        if any(self._is_on_its_way(other, epoch) for other in others):
            return None
        own = self.values[trial][epoch - 1]
        reached = [value for other in others if (value := self._value_at(other, epoch)) is not None]
        better = sum(value > own if self.higher_is_better else value < own for value in reached)
        return better < math.ceil((len(reached) + 1) / REDUCTION)

    def _is_on_its_way(self, trial: int, epoch: int) -> bool:
        return trial not in self.ended and len(self.values.get(trial, ())) < epoch

    def _value_at(self, trial: int, epoch: int) -> float | None:
        """A trial's best value after an epoch; one that finished sooner keeps its last. None: it never got there."""
        known = self.values.get(trial, [])
        if len(known) >= epoch:
            return known[epoch - 1]
        return known[-1] if known and self.ended.get(trial) else None
