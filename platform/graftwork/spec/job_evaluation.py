"""What a FineTuneJob does with its result: what is settled on validation data, what is looked at, registration.

Gates are in `job_gates`. No I/O here.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from graftwork.spec.base import Alias, Inconsistency, Name, SpecModel, Text, exactly_one, refuse_if_any
from graftwork.spec.job_gates import Gate, GateSlice

__all__ = ["Evaluation", "Gate", "GateSlice", "Mirror", "Register", "TestTimeAugmentation", "Threshold"]

Share = Annotated[float, Field(gt=0, le=1)]
MOST_SLICE_COLUMNS = 16


class Threshold(SpecModel):
    """From which score on the positive class is answered, chosen on the validation data. Exactly one rule."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"minPrecision": 0.9}]})

    positive: Text | None = None
    """The class whose score is compared. Default: the second of the two in the order of the labels, which is that of
    the alphabet."""
    maximize: Literal["f1", "accuracy", "balanced-accuracy"] | None = None
    """What is to be highest: F1 of the positive class, the share of right answers, or the mean of both classes'
    recall."""
    min_precision: Share | None = None
    """As many of the positive class as can be found with this precision."""
    min_recall: Share | None = None
    """As precise as can be while this share of the positive class is found."""

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        refuse_if_any(exactly_one(self, "maximize", "minPrecision", "minRecall"))
        return self


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
    """What is settled, looked at and asked for after training."""

    gates: list[Gate] = Field(default_factory=list)
    """All must pass, or nothing is registered and the job fails with the figures."""
    baseline: Literal["none", "random-weights"] = "none"
    """`random-weights`: train the same phases again on the same backbone with random weights, and report what the
    pre-trained weights gained."""
    test_time_augmentation: TestTimeAugmentation | None = None
    """Average answers over mirror images of each picture; default: one answer a picture."""
    calibration: Literal["none", "temperature"] = "none"
    """`temperature`: divide the network's outputs by a number that makes its scores say how often it is right, fitted
    on the validation data and kept in the bundle. Which class has the highest score does not change."""
    threshold: Threshold | None = None
    """Tasks of two classes: which score the positive class needs to be answered, in place of one half. Multi-label
    tasks choose a threshold for each label by themselves."""
    slices: Annotated[list[Text], Field(max_length=MOST_SLICE_COLUMNS)] = Field(default_factory=list)
    """Columns of the test tables, such as `camera`: the metrics are told for each value by itself."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse_if_any(self._averaged_and_calibrated(), *self._columns_twice(), *self._unknown_slices())
        return self

    def _averaged_and_calibrated(self) -> Inconsistency | None:
        averaging = self.test_time_augmentation
        if self.calibration == "none" or averaging is None or not averaging.serve:
            return None
        return Inconsistency(
            at=("calibration",),
            received=f"`{self.calibration}` beside `testTimeAugmentation: {{serve: true}}`",
            expected="one of the two: an average of calibrated scores is not calibrated",
            fix="Remove one, or only report averaged answers (`serve: false`).",
            involves=(("testTimeAugmentation", "serve"),),
        )

    def _columns_twice(self) -> list[Inconsistency]:
        return [
            Inconsistency(
                at=("slices", position),
                received=f"`{name}`, which stands there already",
                expected="each column once",
                fix="Remove it.",
            )
            for position, name in enumerate(self.slices)
            if name in self.slices[:position]
        ]

    def _unknown_slices(self) -> list[Inconsistency]:
        return [
            Inconsistency(
                at=("gates", position, "slice", "column"),
                received=f"`{gate.slice.column}`",
                expected=f"one of `slices`: {', '.join(self.slices)}" if self.slices else "a column among `slices`",
                fix=f"Add it: `slices: [{', '.join([*self.slices, gate.slice.column])}]`.",
                involves=(("slices",),),
            )
            for position, gate in enumerate(self.gates)
            if gate.slice is not None and gate.slice.column not in self.slices
        ]


class Register(SpecModel):
    """Under which name the bundle goes into the registry."""

    model: Name
    """Registered model name."""
    alias: Alias | None = "champion"
    """Alias to move to the new version."""
