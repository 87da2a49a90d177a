"""KubeRay: which versions will do, and what it says of a Ray cluster whose pods cannot be made. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

KUBERAY: Final = "1.6 or newer"
"""Older versions lack fields of RayJobs and RayServices that are set."""


def why_no_pods(status: Mapping[str, Any]) -> str | None:
    """What keeps a cluster's pods from being made, such as a quota or a missing ServiceAccount; None if nothing does.

    Args:
        status: `rayClusterStatus` in the status of a RayJob, or in one of the services of a RayService's.
    """
    for condition in (status.get("rayClusterStatus") or {}).get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return f"Its pods cannot be made: {' '.join(condition.get('message', '').split())}"
    return None
