"""Ray Train backend for Keras 3 on TensorFlow: joins the workers into one collective group.

Ray calls `on_start` whenever it (re)starts the workers, so a restarted group finds each other afresh. Unlike Ray's own
TensorFlow backend this one does not force Keras 2.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray.train.backend import Backend, BackendConfig

from graftwork_jobs.keras_setup import set_up_keras

if TYPE_CHECKING:
    from ray.train._internal.base_worker_group import BaseWorkerGroup

# Keeps TensorFlow's strategy alive as long as the process: its end would stop watching over the other workers.
_joined: list[Any] = []


@dataclass
class KerasBackendConfig(BackendConfig):
    """How to set up a worker's TensorFlow.

    Attributes:
        threads: threads of a worker's operations.
    """

    threads: int = 1

    @classmethod
    def for_cpus(cls, cpus_per_worker: float) -> KerasBackendConfig:
        """One thread for each core of a worker, at least one."""
        return cls(threads=max(1, math.floor(cpus_per_worker)))

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
            worker_group.execute_single_async(rank, _join, rank, addresses, backend_config.threads)
            for rank in range(len(worker_group))
        ]
        ray.get(joining)


def set_up_process(threads: int) -> None:
    """Load Keras and limit TensorFlow's threads; once a process, before anything is computed."""
    set_up_keras("tensorflow")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)


def _reserve_address() -> str:
    """A `host:port` of this worker that is free now."""
    host = ray.util.get_node_ip_address()
    with socket.socket() as free:
        free.bind((host, 0))
        return f"{host}:{free.getsockname()[1]}"


def _join(rank: int, addresses: Sequence[str], threads: int) -> None:
    """Set up TensorFlow in this worker and, with company, meet the others."""
    set_up_process(threads)
    if len(addresses) == 1:
        return
    import tensorflow as tf

    # Entering the strategy's scope breaks Keras 3; creating it is the public way to join a collective group.
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(addresses)}), task_type="worker", task_id=rank, rpc_layer="grpc"
    )
    _joined.append(tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver))
