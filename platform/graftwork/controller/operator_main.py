"""The operator: kopf's watches feed the work queue, the queue's looks go through `reconcile`. The edge of the edge.

Handlers only say which object may have changed: watches list everything again when the operator starts, so nothing is
kept between two looks, and no annotations or finalizers of kopf's appear on objects.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import kopf

from graftwork.controller import names
from graftwork.controller.aliases import MlflowAliases
from graftwork.controller.cluster import KubernetesCluster, connect, connect_inside
from graftwork.controller.conditions import holds
from graftwork.controller.leader import LEASE_S, RETRY_S, Leader
from graftwork.controller.pods import PodDefaults
from graftwork.controller.reconcile import RAY, Key, Reconciler
from graftwork.controller.replicas import Replicas
from graftwork.controller.work_queue import WorkQueue
from graftwork.errors import PermanentError
from graftwork.metrics import OperatorMetrics
from graftwork.settings import OperatorSettings
from graftwork.spec.crd import RESOURCES

_LOOKS_AT_ONCE = 8
_GRACE_S = 20.0
_KUBERAY_LOOK_S = 15.0
_VERSION = "v1alpha1"
# A RayJob, RayService or ConfigMap of ours names what it belongs to in a label.
_OWNER_OF_LABEL = {names.JOB_LABEL: "FineTuneJob", names.ENDPOINT_LABEL: "InferenceEndpoint"}
_WATCHED = (("ray.io", "v1", "rayjobs"), ("ray.io", "v1", "rayservices"), ("", "v1", "configmaps"))
_logger = logging.getLogger(__name__)


class Operator:
    """Everything that runs while the operator does.

    Args:
        settings: how it was installed.
        cluster: the cluster.
        metrics: counted here.
    """

    def __init__(self, settings: OperatorSettings, cluster: KubernetesCluster, metrics: OperatorMetrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._leader = Leader(
            cluster=cluster,
            namespace=settings.namespace,
            name=settings.lease,
            me=settings.identity,
            clock=lambda: datetime.now(UTC),
        )
        reconciler = Reconciler(
            cluster=cluster,
            defaults=PodDefaults(
                train_image=settings.train_image,
                serve_image=settings.serve_image,
                tracking_uri=settings.tracking_uri,
                env_from=settings.env_from,
                pull_secrets=settings.pull_secrets,
            ),
            clock=lambda: datetime.now(UTC),
            resolve=MlflowAliases(settings.tracking_uri),
            read_rollbacks=Replicas().rollbacks,
            namespaces=settings.namespaces or (None,),
            may_go_on=lambda: self._leader.leads,
            on_seen=self._tell,
        )
        self._cluster = cluster
        self._queue = WorkQueue[Key](look=reconciler.look, on_look=self._count)
        self._led = False
        self._lease_thread = ThreadPoolExecutor(1, thread_name_prefix="lease")

    def registry(self) -> kopf.OperatorRegistry:
        """The handlers."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(kopf.login_via_client)
        for kind, resource in RESOURCES.items():
            kopf.on.event(names.GROUP, _VERSION, resource.plural, registry=registry)(self._own(kind))
        for group, version, plural in _WATCHED:
            kopf.on.event(group, version, plural, labels={names.MANAGED_LABEL: names.MANAGED_BY}, registry=registry)(
                self._belonging
            )
        return registry

    async def run(self) -> None:
        """Watch and work until cancelled, or until another operator took over."""
        kopf_settings = kopf.OperatorSettings()
        kopf_settings.posting.enabled = False
        kopf_settings.scanning.disabled = self._settings.namespaces != ()
        async with asyncio.TaskGroup() as group:
            others = [
                group.create_task(self._lead()),
                group.create_task(self._await_kuberay()),
                group.create_task(self._queue.work(at_once=_LOOKS_AT_ONCE)),
            ]
            ours = asyncio.all_tasks()
            watches = await kopf.spawn_tasks(
                registry=self.registry(),
                settings=kopf_settings,
                standalone=True,
                clusterwide=not self._settings.namespaces,
                namespaces=self._settings.namespaces,
                liveness_endpoint=self._settings.liveness_url,
            )
            others.append(group.create_task(leave_if_stuck(watches, self.step_down)))
            await kopf.run_tasks(watches, ignored=ours | set(others))  # until a signal, or until one of them fails
            for task in others:
                task.cancel()

    def step_down(self) -> None:
        """Let another operator lead at once; called on the way out."""
        self._leader.step_down()

    def _own(self, kind: str) -> Callable[..., Any]:
        # Asynchronous, so that kopf calls it in its own loop, where the queue lives.
        async def changed(namespace: str | None, name: str | None, labels: Mapping[str, str], **_: Any) -> None:
            if namespace is not None and name is not None:
                self._queue.add(Key(kind=kind, namespace=namespace, name=name))
            if namespace is not None and names.SCHEDULE_LABEL in labels:
                self._queue.add(Key(kind=kind, namespace=namespace, name=labels[names.SCHEDULE_LABEL]))

        return changed

    async def _belonging(self, namespace: str | None, labels: Mapping[str, str], **_: Any) -> None:
        for label, kind in _OWNER_OF_LABEL.items():
            if label in labels and namespace is not None:
                self._queue.add(Key(kind=kind, namespace=namespace, name=labels[label]))

    async def _lead(self) -> None:
        """Hold the Lease. Who loses it leaves, and starts afresh as a follower."""
        loop = asyncio.get_running_loop()
        while True:
            leads = await loop.run_in_executor(self._lease_thread, self._leader.try_once)
            self._metrics.leads.set(1 if leads else 0)
            if leads and not self._led:
                _logger.info("%s leads.", self._settings.identity)
                self._led = True
                for key in await asyncio.to_thread(self._all_keys):
                    self._queue.add(key)
            elif self._led and not leads:
                raise PermanentError(f"{self._settings.identity} could not renew its Lease within {LEASE_S} s.")
            await asyncio.sleep(RETRY_S)

    async def _await_kuberay(self) -> None:
        """Begin anew when KubeRay comes: watches of named namespaces are those of what the API served at the start."""
        if not self._settings.namespaces or await asyncio.to_thread(self._cluster.knows, RAY):
            return
        while True:
            await asyncio.sleep(_KUBERAY_LOOK_S)
            if await asyncio.to_thread(self._cluster.knows, RAY):
                raise PermanentError("KubeRay was installed: this process ends, the next one watches its objects.")

    def _all_keys(self) -> list[Key]:
        """Everything there is: what was seen before this operator led was passed over."""
        return [
            Key(kind=kind, namespace=item["metadata"]["namespace"], name=item["metadata"]["name"])
            for kind in RESOURCES
            for namespace in self._settings.namespaces or (None,)
            for item in self._cluster.list(f"{names.GROUP}/{_VERSION}", kind, namespace)
        ]

    def _tell(self, key: Key, status: Mapping[str, Any] | None) -> None:
        """Publish whether an endpoint answers; nothing of one that is gone."""
        if key.kind != "InferenceEndpoint":
            return
        if status is None:
            with contextlib.suppress(KeyError):
                self._metrics.endpoint_ready.remove(key.namespace, key.name)
            return
        self._metrics.endpoint_ready.labels(key.namespace, key.name).set(1 if holds(status, "Ready") else 0)

    def _count(self, key: Key, waited_s: float, worked_s: float, error: Exception | None) -> None:
        self._metrics.waiting.set(len(self._queue))
        self._metrics.wait_seconds.labels(key.kind).observe(waited_s)
        self._metrics.look_seconds.labels(key.kind).observe(worked_s)
        # What is refused is told on the object, for whoever made it to mend.
        refused = isinstance(error, PermanentError)
        outcome = "succeeded" if error is None else "refused" if refused else "failed"
        self._metrics.looks.labels(key.kind, outcome).inc()


async def leave_if_stuck(
    watches: Collection[asyncio.Task[None]],
    step_down: Callable[[], None],
    *,
    grace_s: float = _GRACE_S,
    leave: Callable[[int], None] = os._exit,
) -> None:
    """End the process if kopf does not end after one of its watches did.

    It waits for a login that will never come when the API takes away what it watches. An operator that sees nothing
    must not go on leading.

    Args:
        watches: kopf's tasks, none of which ends while it works.
        step_down: lets another operator lead.
        grace_s: what they have to end together, in seconds.
        leave: ends the process.
    """
    await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(grace_s)
    _logger.error(
        "A watch ended, and the others did not within %.0f s: this process ends, the next one begins.", grace_s
    )
    try:
        await asyncio.to_thread(step_down)
    finally:
        leave(1)


def main() -> None:
    """Run the operator until it is told to stop."""
    from prometheus_client import start_http_server

    from graftwork.settings import load_operator_settings

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.Formatter.converter = time.gmtime
    # The kubelet's probes, every ten seconds.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    # A line for each event of a watch and each question to the registry, none of which names an object.
    for name in ("kopf.objects", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    settings = load_operator_settings()
    cluster = connect(settings.kubeconfig)[0] if settings.kubeconfig is not None else connect_inside()
    metrics = OperatorMetrics()
    metrics.count_calls(lambda: cluster.calls)
    start_http_server(settings.metrics_port, addr=settings.metrics_host)
    operator = Operator(settings, cluster, metrics)
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        try:
            asyncio.run(operator.run())
        finally:
            operator.step_down()


if __name__ == "__main__":
    main()
