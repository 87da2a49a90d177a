"""How the operator bears many objects: `python -m tests.e2e.bench_scale KUBECONFIG [JOBS] [ENDPOINTS]`.

Applies them all at once to a control plane with KubeRay's CRDs and without its operator, and prints: time until all are
reconciled, how long objects waited and looks took, the operator's memory, and calls of the API server per object.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tests.e2e.conftest import Kubectl
from tests.e2e.operators import OperatorProcess, eventually, running_operator
from tests.unit.spec.examples import ENDPOINT, JOB, changed

_NAMESPACE = "graft-scale"


def _objects(jobs: int, endpoints: int) -> dict[str, Any]:
    served = changed(ENDPOINT, ("spec", "models"), [{"model": "/models/flowers"}])
    named = [
        *((JOB, f"job-{number}") for number in range(jobs)),
        *((served, f"endpoint-{number}") for number in range(endpoints)),
    ]
    items = [{**content, "metadata": {"name": name, "namespace": _NAMESPACE}} for content, name in named]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def quantile(buckets: dict[float, float], share: float) -> float:
    """Upper bound of the histogram bucket that holds a quantile.

    Args:
        buckets: how many values are at most so large, by upper bound.
        share: 0.5 for the median.
    """
    total = max(buckets.values())
    return min(bound for bound, count in buckets.items() if count >= share * total)


def _buckets(operator: OperatorProcess, name: str) -> dict[float, float]:
    found: dict[float, float] = {}
    for labels, count in operator.samples(f"{name}_bucket").items():
        bound = float(labels.partition('le="')[2].partition('"')[0])
        found[bound] = found.get(bound, 0) + count
    return found


def main(kubeconfig: str, jobs: int = 500, endpoints: int = 100) -> None:
    """Measure and print."""
    kubectl = Kubectl(kubeconfig)
    kubectl.install_crds()
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}})
    log = Path(tempfile.mkdtemp()) / "operator.log"
    objects = _objects(jobs, endpoints)

    def count(kind: str) -> int:
        return len(kubectl("get", kind, "-n", _NAMESPACE, "-o", "name").stdout.split())

    def settled() -> bool:
        phases = kubectl(
            "get", "finetunejobs,inferenceendpoints", "-n", _NAMESPACE, "-o", "jsonpath={.items[*].status.phase}"
        )
        return phases.stdout.split().count("Starting") == jobs + endpoints

    try:
        with running_operator(kubeconfig, name="scale", namespaces=_NAMESPACE, log=log) as operator:
            eventually(lambda: operator.metric("graftwork_operator_leads") == 1, "the operator leads")
            began = time.monotonic()
            kubectl.apply(objects)
            applied_s = time.monotonic() - began
            eventually(settled, f"all are reconciled, log in {log}", within_s=600)
            settled_s = time.monotonic() - began
            calls = operator.metric("graftwork_operator_api_calls_total")
            memory = psutil.Process(operator.pid).memory_info().rss / 2**20
            print(
                f"{jobs} jobs and {endpoints} endpoints: applied in {applied_s:.1f} s, settled after {settled_s:.1f} s"
            )
            print(f"RayJobs {count('rayjobs')}, RayServices {count('rayservices')}")
            for what in ("wait", "look"):
                buckets = _buckets(operator, f"graftwork_operator_{what}_duration_seconds")
                p50, p99 = (quantile(buckets, share) for share in (0.5, 0.99))
                print(f"{what}: p50 <= {p50} s, p99 <= {p99} s")
            print(f"operator memory: {memory:.0f} MiB; API calls per object: {calls / (jobs + endpoints):.1f}")
    finally:
        kubectl("delete", "namespace", _NAMESPACE, "--wait=false")


if __name__ == "__main__":
    main(sys.argv[1], *(int(number) for number in sys.argv[2:]))
