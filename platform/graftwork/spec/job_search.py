"""The search section of a FineTuneJob: which fields to vary, how often, and what counts as better. No I/O here.

How a space is drawn from and applied to a spec stands in `search_space`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from graftwork.spec.amounts import Duration, seconds_of
from graftwork.spec.base import (
    Inconsistency,
    PositiveInt,
    SpecModel,
    Text,
    exactly_one,
    refuse_if_any,
)
from graftwork.spec.target_metrics import Monitor

NumberPair = Annotated[list[float], Field(min_length=2, max_length=2)]
IntegerPair = Annotated[list[int], Field(min_length=2, max_length=2)]


class SearchRange(SpecModel):
    """Values one field of the spec may take. Exactly one key."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"logUniform": [1e-4, 1e-2]}]})

    choice: Annotated[list[Any], Field(min_length=1)] | None = None
    """Any of these values, each equally likely."""
    uniform: NumberPair | None = None
    """A number between the two."""
    log_uniform: NumberPair | None = None
    """A number between the two, each order of magnitude equally likely; for learning rates and the like."""
    integer: IntegerPair | None = None
    """A whole number from the first to the second, both included."""

    @model_validator(mode="after")
    def _one_range(self) -> Self:
        one = exactly_one(self, "choice", "uniform", "logUniform", "integer")
        refuse_if_any(one, self._not_ascending(), self._not_positive())
        return self

    def _not_ascending(self) -> Inconsistency | None:
        for key, pair in (("uniform", self.uniform), ("logUniform", self.log_uniform), ("integer", self.integer)):
            if pair is not None and pair[0] >= pair[1]:
                return Inconsistency(
                    at=(key,),
                    received=f"{pair[0]:g} and {pair[1]:g}",
                    expected="the lower end first, and a higher one",
                    fix="Exchange the two, or give the field a fixed value in the spec.",
                )
        return None

    def _not_positive(self) -> Inconsistency | None:
        if self.log_uniform is None or self.log_uniform[0] > 0:
            return None
        return Inconsistency(
            at=("logUniform", 0),
            received=f"{self.log_uniform[0]:g}",
            expected="a number > 0, which has an order of magnitude",
            fix="Use a small positive number such as 1e-5, or `uniform`.",
        )


class Search(SpecModel):
    """Runs the job with different values of some fields, and keeps the best."""

    space: Annotated[dict[Text, SearchRange], Field(min_length=1)]
    """Fields to vary, by their path below `spec`: `phases.head.learningRate`, `head.dropout`, `training.batchSize`. An
    entry of a list is named by its `name` or its position (from 0). `backbone`, `input`, `augment` and `head` may vary
    as a whole, too: `augment: {choice: [[], [{flip: horizontal}]]}`."""
    trials: Annotated[int, Field(ge=2, le=1000)] = 16
    """How many variants to train. The first is the spec as it stands."""
    max_concurrent: PositiveInt | None = None
    """How many to train at the same time; each takes `scaling.cpusPerWorker` and `scaling.gpusPerWorker`. Default: as
    many as there is room for."""
    metric: Monitor = "val_loss"
    """What decides which is the best: a figure of the validation data at the epoch whose weights a trial ends with. The
    test set is not touched."""
    scheduler: Literal["asha", "none"] = "asha"
    """`asha` ends a trial early if it is not among the better ones at the same epoch (successive halving); `none`
    trains every trial to its end."""
    budget: Duration | None = None
    """Time after which no further trial is begun, such as `90s`, `30m` or `2h`. Which trials that leaves depends on the
    speed of the machine."""

    @property
    def budget_s(self) -> float | None:
        """The budget in seconds; None without one."""
        return None if self.budget is None else float(seconds_of(self.budget))

    @property
    def higher_is_better(self) -> bool:
        """The direction of the metric."""
        return self.metric != "val_loss"
