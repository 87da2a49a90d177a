"""What a FineTuneJob does with its result: gates, baseline, registration. No I/O here."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from graftwork.spec.base import Alias, Inconsistency, Name, SpecModel, refuse_if_any
from graftwork.spec.target_metrics import RANGES, Metric


class Gate(SpecModel):
    """A condition on a test metric that the bundle must meet to be registered."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"metric": "accuracy", "min": 0.9}]})

    metric: Metric
    """Which test metric; which there are depends on the task. `loss`, `mae` and `rmse` should be low, others high."""
    min: float | None = None
    """Lowest value that passes."""
    max: float | None = None
    """Highest value that passes."""
    not_worse_than: Alias | None = None
    """Alias (such as `champion`) of the registered model whose stored test metric must be reached. Passes while no
    version carries the alias."""

    @model_validator(mode="after")
    def _some_bound(self) -> Self:
        refuse_if_any(self._no_bound(), self._crossed(), *self._out_of_reach())
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

    def _out_of_reach(self) -> list[Inconsistency]:
        lowest, highest = RANGES.get(self.metric, (0.0, 1.0))
        return [
            Inconsistency(
                at=(key,),
                received=f"{bound:g}",
                expected=_range_words(self.metric, lowest, highest),
                fix=f"Use {bound / 100:g}." if 1 < bound <= 100 else "Use a value the metric can take.",  # noqa: PLR2004
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


Mirror = Literal["horizontal", "vertical", "both"]
"""Which mirror images of a picture: one, or with `both` three."""


class TestTimeAugmentation(SpecModel):
    """Average the answers over each test picture and its mirror images."""

    # Not a test, whatever pytest makes of the name.
    __test__ = False

    flip: Mirror = "horizontal"
    """Which mirror images: left and right exchanged, top and bottom, or all three."""
    serve: bool = False
    """false: reported beside the plain figures. true: the bundle does so, too: endpoints answer what was tested, at two
    (`both`: four) times the work. Figures and gates are then those of averaged answers, and the report shows the plain
    ones beside."""

    def beside(self, test: str) -> str:
        """What the other figures of a test set are called, which stand beside those that count."""
        return f"{test}_{'plain' if self.serve else 'mirrored'}"


class Evaluation(SpecModel):
    """What is looked at after training."""

    gates: list[Gate] = Field(default_factory=list)
    """All must pass, or nothing is registered and the job fails with the figures."""
    baseline: Literal["none", "random-weights"] = "none"
    """`random-weights`: train the same phases again on the same backbone with random weights, and report what the
    pre-trained weights gained."""
    test_time_augmentation: TestTimeAugmentation | None = None
    """Average answers over mirror images of each picture; default: one answer a picture."""


class Register(SpecModel):
    """Under which name the bundle goes into the registry."""

    model: Name
    """Registered model name."""
    alias: Alias | None = "champion"
    """Alias to move to the new version."""
