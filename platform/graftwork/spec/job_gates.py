"""Gates: conditions on test metrics that a bundle must meet to be registered. No I/O here."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from graftwork.spec.base import Alias, Inconsistency, PositiveInt, SpecModel, Text, refuse_if_any
from graftwork.spec.target_metrics import LOWER_IS_BETTER, RANGES, Metric


class GateSlice(SpecModel):
    """Which slices of the test set a gate looks at, each by itself."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"column": "camera"}]})

    column: Text
    """One of `evaluation.slices`."""
    values: Annotated[list[Text], Field(min_length=1)] | None = None
    """Values of the column whose slices must meet the gate. Default: every value."""
    min_examples: PositiveInt = 30
    """Slices of fewer test examples are not judged: a handful says little."""


class Gate(SpecModel):
    """A condition on a test metric that the bundle must meet to be registered."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"metric": "accuracy", "min": 0.9}]})

    metric: Metric
    """Which test metric; which there are depends on the task. `loss`, `ece` (calibration error), `mae` and `rmse`
    should be low, others high."""
    min: float | None = None
    """Lowest value that passes."""
    max: float | None = None
    """Highest value that passes."""
    not_worse_than: Alias | None = None
    """Alias (such as `champion`) of the registered model that must be reached. Both are compared on this job's test
    set; only if that model cannot be run, its stored metric is used. Passes while no version carries the alias."""
    margin: Annotated[float, Field(ge=0)] = 0.0
    """With `notWorseThan`: by how much the metric may be worse."""
    interval: Literal["ignore", "whole", "part"] = "ignore"
    """What the metric's 95 % confidence interval has to do with it. `ignore`: the metric itself must meet the bound.
    `whole`: all of the interval must, so that only a model that is surely good enough passes. `part`: some of it must,
    so that only a model that is surely not good enough fails. With `notWorseThan` it is that of the difference."""
    slice: GateSlice | None = None
    """Judge slices of the test set, each by itself, rather than all of it."""

    @model_validator(mode="after")
    def _some_bound(self) -> Self:
        refuse_if_any(
            self._no_bound(),
            self._crossed(),
            self._wrong_way(),
            self._margin_of_nothing(),
            self._slices_compared(),
            *self._out_of_reach(),
        )
        return self

    def _no_bound(self) -> Inconsistency | None:
        if not (self.min is None and self.max is None and self.not_worse_than is None):
            return None
        return Inconsistency(
            received="no bound",
            expected="at least one of `min`, `max`, `notWorseThan`",
            fix="Add a bound, or remove the gate.",
            involves=(("min",), ("max",), ("notWorseThan",)),
        )

    def _crossed(self) -> Inconsistency | None:
        if self.min is None or self.max is None or self.min <= self.max:
            return None
        return Inconsistency(
            at=("max",),
            received=f"{self.max:g}, below `min` {self.min:g}",
            expected="`max` >= `min`",
            fix="Exchange the two, or remove one.",
            involves=(("min",),),
        )

    def _wrong_way(self) -> Inconsistency | None:
        if self.min is None or self.max is not None or self.metric not in LOWER_IS_BETTER:
            return None
        return Inconsistency(
            at=("min",),
            received=f"{self.min:g} for {self.metric}, which is the better the lower it is",
            expected="`max` for this metric",
            fix=f"Write `max: {self.min:g}`.",
            involves=(("metric",),),
        )

    def _margin_of_nothing(self) -> Inconsistency | None:
        if not self.margin or self.not_worse_than is not None:
            return None
        return Inconsistency(
            at=("margin",),
            received=f"{self.margin:g} without `notWorseThan`",
            expected="`margin` beside `notWorseThan` only",
            fix="Remove it, or name the alias to compare with.",
            involves=(("notWorseThan",),),
        )

    def _slices_compared(self) -> Inconsistency | None:
        if self.slice is None or self.not_worse_than is None:
            return None
        return Inconsistency(
            at=("slice",),
            received="`slice` beside `notWorseThan`",
            expected="`min` or `max` for slices",
            fix="Give the slices a bound of their own, and compare all of the test set in another gate.",
            involves=(("notWorseThan",),),
        )

    def _out_of_reach(self) -> list[Inconsistency]:
        lowest, highest = RANGES.get(self.metric, (0.0, 1.0))
        return [
            Inconsistency(
                at=(key,),
                received=f"{bound:g}",
                expected=_range_words(self.metric, lowest, highest),
                fix=f"Use {bound / 100:g}." if 2 <= bound <= 100 else "Use a value the metric can take.",  # noqa: PLR2004
                involves=(("metric",),),
            )
            for key, bound in (("min", self.min), ("max", self.max))
            if bound is not None and not lowest <= bound <= highest
        ]


def _range_words(metric: str, lowest: float, highest: float) -> str:
    if (lowest, highest) == (0.0, 1.0):
        return f"a share from 0 to 1, as {metric} is"
    if highest == math.inf:
        return f"{'a loss' if metric == 'loss' else metric} >= {lowest:g}"
    return f"{metric} <= {highest:g}"
