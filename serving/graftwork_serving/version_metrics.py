"""What is counted by version rather than by model: answers, and what shadows said beside them."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from graftwork.metrics import BoundedLabels

if TYPE_CHECKING:
    from graftwork.metrics import ServingMetrics
    from graftwork_serving.comparison import Comparison
    from graftwork_serving.rollouts import Rollouts
    from graftwork_serving.served_model import ServedModel

# Every alias move brings a new version; series stay as long as the endpoint runs.
_MAX_VERSIONS: Final = 200


class VersionMetrics:
    """Counts in Prometheus series.

    Args:
        metrics: the series.

    Attributes:
        endpoint: the endpoint's name.
    """

    def __init__(self, metrics: ServingMetrics) -> None:
        self.endpoint = ""
        self._metrics = metrics
        self._bounded = BoundedLabels(_MAX_VERSIONS)

    def count(self, version: ServedModel, status: int, seconds: float) -> None:
        """A prediction request that a version answered, or failed to answer.

        Args:
            version: which one.
            status: HTTP status code, of other protocols too.
            seconds: until the answer.
        """
        labels = self._labels(version)
        self._metrics.version_requests.labels(*labels, outcome_of(status)).inc()
        self._metrics.version_seconds.labels(*labels).observe(seconds)

    def compared(self, shadow: ServedModel, comparison: Comparison, seconds: float) -> None:
        """A shadow said something that can be compared with the answer."""
        labels = self._labels(shadow)
        agreeing = int(comparison.agrees.sum())
        for result, examples in (("agrees", agreeing), ("disagrees", len(comparison.agrees) - agreeing)):
            self._metrics.shadow_examples.labels(*labels, result).inc(examples)
        for difference in () if comparison.differences is None else comparison.differences.tolist():
            self._metrics.shadow_difference.labels(*labels).observe(difference)
        self._metrics.shadow_seconds.labels(*labels).observe(seconds)

    def lost(self, shadow: ServedModel, examples: int, result: str) -> None:
        """Nothing can be compared."""
        self._metrics.shadow_examples.labels(*self._labels(shadow), result).inc(examples)

    def _labels(self, version: ServedModel) -> tuple[str, str, str]:
        name = self._bounded(f"{version.name} {version.version}")
        if name == BoundedLabels.OTHER:
            return self.endpoint, BoundedLabels.OTHER, BoundedLabels.OTHER
        return self.endpoint, version.name, version.version


class WatchRecord:
    """Tells the rollouts what the version before says of what a watched one answered.

    Args:
        rollouts: told.
        version: the watched one.
    """

    def __init__(self, rollouts: Rollouts, version: ServedModel) -> None:
        self._rollouts = rollouts
        self._version = version

    def compared(self, shadow: ServedModel, comparison: Comparison, seconds: float) -> None:
        """The version before said something that can be compared with the answer."""
        del shadow, seconds
        examples = len(comparison.agrees)
        self._rollouts.compared(self._version, examples, examples - int(comparison.agrees.sum()))

    def lost(self, shadow: ServedModel, examples: int, result: str) -> None:
        """Nothing can be compared, and nothing follows from that."""


def outcome_of(status: int) -> str:
    """What became of a request: `ok`, `refused` (the client's to fix, or too many waiting) or `failed`."""
    if status < HTTPStatus.BAD_REQUEST:
        return "ok"
    is_refused = status < HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.SERVICE_UNAVAILABLE
    return "refused" if is_refused else "failed"
