"""Ray Train backend for Keras 3: sets up the workers' processes and brings them together.

Ray calls `on_start` whenever it (re)starts the workers, so a restarted group finds each other afresh. Unlike Ray's own
TensorFlow backend this one does not force Keras 2, and unlike its JAX backend it serves CPUs too and leaves
CUDA_VISIBLE_DEVICES as Ray set it.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from ray.train.backend import Backend, BackendConfig

from graftwork_jobs.distributed.worker_process import WorkerProcess

if TYPE_CHECKING:
    from ray.train._internal.base_worker_group import BaseWorkerGroup

# Keeps TensorFlow's strategy alive as long as the process: its end would stop watching over the other workers.
_joined: list[Any] = []
# Workers that are left after one died wait for it in vain.
_LEAVE_WITHIN_S = 10.0

_logger = logging.getLogger(__name__)


@dataclass
class KerasBackendConfig(BackendConfig):
    """How to set up a worker.

    Attributes:
        process: what its process is like.
    """

    process: WorkerProcess = field(default_factory=WorkerProcess)

    @property
    def backend_cls(self) -> type[Backend]:
        """What Ray instantiates."""
        return _KerasBackend


class _KerasBackend(Backend):
    def on_start(self, worker_group: BaseWorkerGroup, backend_config: BackendConfig) -> None:
        assert isinstance(backend_config, KerasBackendConfig)  # noqa: S101  # Ray passes back what `backend_cls` is of
        addresses = worker_group.execute(_reserve_address) if len(worker_group) > 1 else [""]
        # Ray's worker groups and `ray.get` name two different types of reference.
        joining: list[Any] = [
            worker_group.execute_single_async(rank, _join, rank, addresses, backend_config.process)
            for rank in range(len(worker_group))
        ]
        ray.get(joining)

    def on_shutdown(self, worker_group: BaseWorkerGroup, backend_config: BackendConfig) -> None:
        assert isinstance(backend_config, KerasBackendConfig)  # noqa: S101  # as above
        if backend_config.process.backend != "jax" or len(worker_group) == 1:
            return
        leaving: list[Any] = worker_group.execute_async(_leave_jax)
        _, waiting = ray.wait(leaving, num_returns=len(leaving), timeout=_LEAVE_WITHIN_S)
        if waiting:
            _logger.info("%d workers did not part from the others; Ray ends them", len(waiting))


def _reserve_address() -> str:
    """A `host:port` of this worker that is free now."""
    host = ray.util.get_node_ip_address()
    with socket.socket() as free:
        free.bind((host, 0))
        return f"{host}:{free.getsockname()[1]}"


def _join(rank: int, addresses: Sequence[str], process: WorkerProcess) -> None:
    """Set up this worker's process and, with company, meet the others."""
    process.set_up()
    if len(addresses) > 1 and process.backend == "jax":
        _join_jax(rank, addresses)
    elif len(addresses) > 1:
        _join_tensorflow(rank, addresses)
    process.check_devices()


def _join_tensorflow(rank: int, addresses: Sequence[str]) -> None:
    import tensorflow as tf

    # Entering the strategy's scope breaks Keras 3; creating it is the public way to join a collective group.
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(addresses)}), task_type="worker", task_id=rank, rpc_layer="grpc"
    )
    _joined.append(tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver))


def _join_jax(rank: int, addresses: Sequence[str]) -> None:
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # It would take SIGTERM for itself, and the process would not end any more.
    jax.config.update("jax_enable_preemption_service", False)
    # Each process sees the GPUs that Ray gave it, and computes on the first.
    jax.distributed.initialize(
        coordinator_address=addresses[0],
        coordinator_bind_address=addresses[0],
        num_processes=len(addresses),
        process_id=rank,
        local_device_ids=[0],
    )


def _leave_jax() -> None:
    import jax

    jax.distributed.shutdown()
