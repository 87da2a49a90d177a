"""What results of every target kind have in common. Only `graftwork_jobs.targets` knows which kinds there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from graftwork_jobs.evaluation.charts import Theme
    from graftwork_jobs.evaluation.diagnosis import DiagnosisInput
    from graftwork_jobs.evaluation.findings import Finding


class TestMetrics(Protocol):
    """What a test set says of a model."""

    @property
    def examples(self) -> int:
        """Size of the test set."""
        ...

    @property
    def summary(self) -> dict[str, float]:
        """Figures by name. A figure this test set does not define is left out and `notes` says why."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know when reading the figures."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """The metrics as plain JSON-ready values."""
        ...


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What guessing reaches: whoever learned something is better.

    Attributes:
        score: the epoch figure beside the loss, when the likeliest answer is given throughout.
        loss: mean loss of a model that knows nothing of the input.
        how: what guessing is here, in words.
    """

    score: float
    loss: float
    how: str


class Reporting(Protocol):
    """How results of one target kind are told: names of figures, charts, tables, findings.

    Every summary holds `score`, its leading figure, which epochs have too: 1 is perfect and more is better.
    """

    @property
    def score(self) -> str:
        """Key of the leading figure."""
        ...

    @property
    def score_words(self) -> str:
        """The leading figure in a sentence."""
        ...

    @property
    def second(self) -> str:
        """Key of the figure shown beside it."""
        ...

    @property
    def slice_score(self) -> str:
        """Key of the figure that slices are compared by: one that does not depend on how a slice's truths spread."""
        ...

    @property
    def slice_words(self) -> str:
        """That figure in a sentence."""
        ...

    @property
    def titles(self) -> Mapping[str, str]:
        """Titles of the summary's figures, in the order to show them."""
        ...

    @property
    def details(self) -> str:
        """Heading of what the template shows of a test set."""
        ...

    @property
    def template(self) -> str:
        """Template with the macro `test_details(test, chart, bar)`."""
        ...

    def guess(self, given: DiagnosisInput) -> Guess:
        """What guessing reaches."""
        ...

    def view(self, metrics: Any) -> Any:
        """What the template shows of a test set."""
        ...

    def charts(self, metrics: Any, theme: Theme) -> dict[str, bytes]:
        """Charts of a test set as PNG, by file name without ending."""
        ...

    def findings(self, given: DiagnosisInput) -> list[Finding]:
        """What the test sets show."""
        ...
