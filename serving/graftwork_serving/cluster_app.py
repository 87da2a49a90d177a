"""The endpoint as KubeRay starts it: Serve imports `build` and tells replicas the spec and what its aliases are now.

Replicas find their bundles themselves, each on its own machine, and follow a change of either in place.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.settings import Settings, load_settings
from graftwork.spec.inference_endpoint import InferenceEndpoint
from graftwork.spec.serve_setup import SERVE_LOGGING
from graftwork_serving.access.sources import cluster_access
from graftwork_serving.deployment import EndpointReplica
from graftwork_serving.resolve import offered_models, replica_config, resolve_models

if TYPE_CHECKING:
    from ray.serve import Application

# Paths in a spec are whole ones on a cluster; there is no spec file for them to be relative to.
_BASE_DIR = Path("/")
# The first process of a container; what it writes is what `kubectl logs` prints.
_CONTAINER = 1


class ClusterReplica(EndpointReplica):
    """A replica that is told `NAME/VERSION`, fetches the bundle itself, and has a port of its own for the cluster.

    Args:
        threads: as of `EndpointReplica`.
        metrics_dir: the same.
        metrics_port: where Prometheus and the operator find them.
    """

    def __init__(self, threads: int, metrics_dir: str, metrics_port: int | None = None) -> None:
        super().__init__(threads, metrics_dir, log_pid=_CONTAINER)
        if metrics_port is not None:
            from graftwork_serving.cluster_port import open_cluster_port

            # Inside the pod; its NetworkPolicy says who reaches it.
            open_cluster_port(Path(metrics_dir), self.rollback_report, host="0.0.0.0", port=metrics_port)  # noqa: S104

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Follow a change; if a bundle cannot be had, what is served stays."""
        config = await asyncio.to_thread(resolved_config, user_config, load_settings())
        await super().reconfigure(config)


def resolved_config(told: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """From what the operator tells to what `EndpointReplica` takes.

    Args:
        told: `endpoint`, the spec, and `resolved`, the `NAME/VERSION` behind each `NAME@ALIAS`.
        settings: where bundles and the registry are.

    Raises:
        SpecError: there is no such model.
        BundleError: a bundle was changed.
    """
    endpoint = InferenceEndpoint.model_validate(told["endpoint"])
    models = resolve_models(endpoint, base_dir=_BASE_DIR, settings=settings, resolved=told["resolved"])
    config = replica_config(
        endpoint,
        models,
        access=cluster_access(endpoint),
        base_dir=_BASE_DIR,
        offered=offered_models(endpoint, settings),
    )
    return config.model_dump(mode="json")


def build(arguments: Mapping[str, Any]) -> Application:
    """The application that Serve's configuration names.

    Args:
        arguments: `threads` of each replica; `metrics_port`, on which a replica tells its metrics.
    """
    from ray import serve

    deployment = serve.deployment(name="EndpointReplica", max_constructor_retry_count=1, logging_config=SERVE_LOGGING)(
        serve.ingress()(ClusterReplica)
    )
    metrics = Path(tempfile.gettempdir()) / "graftwork-metrics"
    port = arguments.get("metrics_port")
    return deployment.bind(
        threads=int(arguments["threads"]), metrics_dir=str(metrics), metrics_port=None if port is None else int(port)
    )
