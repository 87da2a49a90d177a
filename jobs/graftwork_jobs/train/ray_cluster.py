"""A Ray cluster that is there already, such as KubeRay's: connected to for one run, left as it was found."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from graftwork.errors import PermanentError, Problem, SpecError
from graftwork.interrupts import interrupts_held_back
from graftwork.ray_messages import log_ray_messages
from graftwork_jobs.train.local_ray import TRAIN_ENVIRONMENT, environment_set, signals_left_alone

_KNOCK_S = 10.0


@contextmanager
def connected_ray(address: str, *, storage: str | None) -> Iterator[None]:
    """Use a running cluster inside the block.

    Args:
        address: of the cluster's head (`host:port`), or `auto` on one of its machines.
        storage: where training keeps checkpoints.

    Raises:
        SpecError: the cluster has several machines, but no storage that they share is named.
        PermanentError: nothing answers at the address.
    """
    import ray

    log_ray_messages()
    with environment_set(TRAIN_ENVIRONMENT):
        try:
            _knock(address)
            with interrupts_held_back(), signals_left_alone():
                ray.init(
                    address=address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env={"env_vars": TRAIN_ENVIRONMENT},
                )
        except (OSError, RuntimeError, ValueError) as error:
            raise PermanentError(
                f"RAY_ADDRESS: received {address}, where no Ray cluster can be reached ({error}). Check the address, "
                "the cluster and its token, or unset RAY_ADDRESS to train on this machine."
            ) from error
        try:
            _refuse_unshared_storage(storage)
            yield
        finally:
            ray.shutdown()


def _knock(address: str) -> None:
    """See whether anything listens at a `host:port`: Ray would ask for minutes.

    Raises:
        OSError: nothing does.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "//" not in host:
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()


def _refuse_unshared_storage(storage: str | None) -> None:
    import ray

    machines = sum(node["Alive"] for node in ray.nodes())
    if storage is None and machines > 1:
        raise SpecError(
            Problem(
                where="GRAFT_STORAGE",
                received=f"nothing, on a Ray cluster of {machines} machines",
                expected="a path or URI that all of them reach",
                fix="Set GRAFT_STORAGE, for example to s3://BUCKET/FOLDER or a folder of a shared volume.",
            )
        )
