"""Every Prometheus series of Graftwork is defined here: base units, bounded labels, counters that end in `_total`.

Import this module only in a process that keeps metrics. Replicas of one endpoint on one machine share theirs through a
directory (prometheus-client's multi-process mode), so that any of them can answer for all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from prometheus_client import Counter, Gauge, Histogram

_LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_DIFFERENCE_BUCKETS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
# Models of an endpoint with series of their own; all further ones share theirs.
_MAX_MODELS = 256
_Metric = TypeVar("_Metric", "Counter", "Gauge", "Histogram")
_SHARED_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


class BoundedLabels:
    """Values for a label that may take many: the first ones are kept as they are, all further ones become `other`.

    Args:
        limit: how many are kept.
    """

    OTHER = "other"

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: set[str] = set()

    def __call__(self, value: str) -> str:
        """What stands for a value."""
        if value not in self._kept:
            if len(self._kept) >= self._limit:
                return self.OTHER
            self._kept.add(value)
        return value


@dataclass(frozen=True, kw_only=True)
class ServingMetrics:
    """What a replica counts. Make one per process, after `share_metrics`.

    Attributes:
        model_label: what stands for a model's name in labels: an endpoint may serve very many.
        requests: answered prediction requests, by model, protocol and HTTP status code; model is empty where the
            request named none that exists.
        request_seconds: time from the first byte of a prediction request's body read to its answer.
        examples: examples scored.
        batch_examples: examples that shared a pass through the model.
        waiting: requests that no thread has taken up.
        model_info: 1 for each model served, with its version, its digest, and what computes it in which numbers.
        version_requests: prediction requests by the version that answered, and their outcome: `ok`, `refused` (the
            client's to fix, or too many waiting) or `failed`.
        version_seconds: time to answer a prediction request, by the version that answered.
        shadow_examples: copies for shadow versions, by what came of them: the shadow `agrees` or `disagrees` with the
            answer, or there is nothing to compare: `dropped` under load, `failed`, `incomparable`.
        shadow_difference: largest difference of a score between answer and shadow, or of a number in standard
            deviations.
        shadow_seconds: time from a shadow's copy to its scores, waiting for an idle moment included.
        refused: requests that their senders may not make, by reason.
        rollbacks: versions given up by a replica for the version before, by the bound they crossed.
        drift: how far the examples that come are from those of the model's test; about 1 for the same kind.
        logged: rows of the prediction log: `written`, `dropped` because too many waited, or `failed` to be written.
    """

    model_label: BoundedLabels = field(default_factory=lambda: BoundedLabels(_MAX_MODELS))
    requests: Counter = field(
        default_factory=lambda: _counter(
            "graftwork_requests", "Prediction requests answered.", ("endpoint", "model", "protocol", "code")
        )
    )
    request_seconds: Histogram = field(
        default_factory=lambda: _histogram(
            "graftwork_request_duration_seconds",
            "Time to answer a prediction request.",
            ("endpoint", "model", "protocol"),
            _LATENCY_BUCKETS_S,
        )
    )
    examples: Counter = field(
        default_factory=lambda: _counter("graftwork_examples", "Examples scored.", ("endpoint", "model"))
    )
    batch_examples: Histogram = field(
        default_factory=lambda: _histogram(
            "graftwork_batch_examples",
            "Examples that shared a pass through the model.",
            ("endpoint", "model"),
            _BATCH_BUCKETS,
        )
    )
    waiting: Gauge = field(
        default_factory=lambda: _gauge(
            "graftwork_requests_waiting", "Requests that no thread has taken up yet.", ("endpoint",), "livesum"
        )
    )
    model_info: Gauge = field(
        default_factory=lambda: _gauge(
            "graftwork_model_info",
            "Models served.",
            ("endpoint", "model", "version", "digest", "engine", "precision"),
            "livemax",
        )
    )
    version_requests: Counter = field(
        default_factory=lambda: _counter(
            "graftwork_version_requests",
            "Prediction requests by the version that answered.",
            ("endpoint", "model", "version", "outcome"),
        )
    )
    version_seconds: Histogram = field(
        default_factory=lambda: _histogram(
            "graftwork_version_request_duration_seconds",
            "Time to answer a prediction request, by the version that answered.",
            ("endpoint", "model", "version"),
            _LATENCY_BUCKETS_S,
        )
    )
    shadow_examples: Counter = field(
        default_factory=lambda: _counter(
            "graftwork_shadow_examples",
            "Examples copied to shadow versions, by what came of them.",
            ("endpoint", "model", "version", "result"),
        )
    )
    shadow_difference: Histogram = field(
        default_factory=lambda: _histogram(
            "graftwork_shadow_score_difference",
            "Largest difference of a score between answer and shadow.",
            ("endpoint", "model", "version"),
            _DIFFERENCE_BUCKETS,
        )
    )
    shadow_seconds: Histogram = field(
        default_factory=lambda: _histogram(
            "graftwork_shadow_duration_seconds",
            "Time from a shadow's copy to its scores.",
            ("endpoint", "model", "version"),
            _LATENCY_BUCKETS_S,
        )
    )
    refused: Counter = field(
        default_factory=lambda: _counter(
            "graftwork_refused_requests", "Requests that their senders may not make.", ("endpoint", "reason")
        )
    )
    rollbacks: Counter = field(
        default_factory=lambda: _counter(
            "graftwork_rollbacks", "Versions given up for the version before.", ("endpoint", "model", "bound")
        )
    )
    drift: Gauge = field(
        default_factory=lambda: _gauge(
            "graftwork_feature_drift",
            "How far examples are from those of the model's test; about 1 for the same kind.",
            ("endpoint", "model", "version"),
            "livemax",
        )
    )
    logged: Counter = field(
        default_factory=lambda: _counter(
            "graftwork_prediction_log_rows", "Rows of the prediction log.", ("endpoint", "result")
        )
    )


_LOOK_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True, kw_only=True)
class OperatorMetrics:
    """What the operator counts. Make one per process.

    Attributes:
        looks: looks at an object, by kind and outcome.
        look_seconds: how long a look took.
        wait_seconds: how long an object waited for it.
        waiting: objects that wait now.
        leads: 1 while this operator is the one that acts.
        endpoint_ready: 1 while an endpoint answers, 0 while it does not.
    """

    looks: Counter = field(
        default_factory=lambda: _counter("graftwork_operator_looks", "Looks at an object.", ("kind", "outcome"))
    )
    look_seconds: Histogram = field(
        default_factory=lambda: _histogram(
            "graftwork_operator_look_duration_seconds", "Time a look took.", ("kind",), _LOOK_BUCKETS_S
        )
    )
    wait_seconds: Histogram = field(
        default_factory=lambda: _histogram(
            "graftwork_operator_wait_duration_seconds", "Time an object waited.", ("kind",), _LOOK_BUCKETS_S
        )
    )
    waiting: Gauge = field(
        default_factory=lambda: _gauge("graftwork_operator_waiting_objects", "Objects that wait.", (), "all")
    )
    leads: Gauge = field(
        default_factory=lambda: _gauge("graftwork_operator_leads", "Whether this operator acts.", (), "all")
    )
    endpoint_ready: Gauge = field(
        default_factory=lambda: _gauge(
            "graftwork_operator_endpoint_ready", "Whether an endpoint answers.", ("namespace", "endpoint"), "all"
        )
    )

    def count_calls(self, calls: Callable[[], int]) -> None:
        """Publish how often the API server was asked.

        Args:
            calls: gives the number so far.
        """
        from prometheus_client import REGISTRY
        from prometheus_client.core import CounterMetricFamily

        class _Calls:
            def collect(self) -> Iterator[CounterMetricFamily]:
                yield CounterMetricFamily("graftwork_operator_api_calls", "Calls of the API server.", value=calls())

        REGISTRY.register(_Calls())


def share_metrics(directory: Path) -> None:
    """Keep this process's metrics in a directory that others read too. Call before prometheus_client is imported."""
    directory.mkdir(parents=True, exist_ok=True)
    os.environ[_SHARED_DIR_VARIABLE] = str(directory)  # noqa: TID251 (prometheus_client takes it from nowhere else)


def render_shared_metrics(directory: Path) -> bytes:
    """All metrics of all processes that share the directory, in Prometheus' text format.

    What processes know that keep no metrics of this library's stands in `*.prom` files of that format.
    """
    import psutil
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

    for file in directory.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not psutil.pid_exists(pid):
            mark_process_dead(pid, path=str(directory))  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(directory))  # type: ignore[no-untyped-call]
    others = [file.read_bytes() for file in sorted(directory.glob("*.prom"))]
    return b"".join((generate_latest(registry), *others))


def _counter(name: str, text: str, labels: tuple[str, ...]) -> Counter:
    from prometheus_client import Counter

    return _remembering(Counter(name, text, labels))


def _gauge(name: str, text: str, labels: tuple[str, ...], mode: str) -> Gauge:
    from prometheus_client import Gauge

    return _remembering(Gauge(name, text, labels, multiprocess_mode=mode))  # type: ignore[arg-type]


def _histogram(name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
    from prometheus_client import Histogram

    return _remembering(Histogram(name, text, labels, buckets=buckets))


def _remembering(metric: _Metric) -> _Metric:
    """Let a metric look each set of labels up once.

    prometheus_client converts, checks and locks at every call, which takes a good part of a small request's time
    (`tests/benchmarks/bench_tensors.py`). Nothing is kept that the metric does not keep anyway.
    """
    metric.labels = cache(metric.labels)  # type: ignore[method-assign]
    return metric
