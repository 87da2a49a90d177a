"""A Ray of our own for one run on this machine: started for it, quiet, on loopback, and gone with it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from graftwork.progress import Reporter
from graftwork.ray_on_loopback import keep_logs, make_folder, start_ray, write_token
from graftwork_jobs.interrupts import interrupts_held_back

_FOLDER_PREFIX = "graft-ray-"
_OBJECT_STORE_BYTES = 128 * 1024**2
TRAIN_ENVIRONMENT = {
    # Workers stay in the folder the job was started from: relative paths of a spec must go on to work.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Workers report once an epoch, and each report waits for the next poll (2 s by default).
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "PYTHONWARNINGS": "ignore",
}
"""What Ray Train's controller and workers are told, on any cluster."""
_ENVIRONMENT = {
    **TRAIN_ENVIRONMENT,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    # Trials are told of and recorded by the search itself; Tune would print, write files and take over Ctrl-C.
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Processes started ahead would not be used: Ray Train's have an environment of their own.
    "RAY_prestart_worker_first_driver": "0",
}


@contextmanager
def start_local_ray(
    *, workers: int, cpus_per_worker: float, gpus_per_worker: float, log_dir: Path, reporter: Reporter
) -> Iterator[None]:
    """Run Ray on this machine inside the block.

    More workers than cores are allowed and warned about: results do not depend on the speed.

    Args:
        workers: training processes to make room for.
        cpus_per_worker: cores of each.
        gpus_per_worker: GPUs of each.
        log_dir: where Ray's logs go when it ends.
        reporter: takes the warning about too few cores.
    """
    import ray

    cores = len(os.sched_getaffinity(0))
    wanted = workers * cpus_per_worker
    if wanted > cores:
        reporter.warn(
            f"{workers} workers with {cpus_per_worker:g} cores each share {cores} cores: training will be slow. "
            f"spec.scaling.workers: {max(1, int(cores / cpus_per_worker))} would fit."
        )
    folder = make_folder(_FOLDER_PREFIX)
    scratch = folder / "tmp"
    scratch.mkdir()
    with environment_set({**_ENVIRONMENT, "RAY_AUTH_TOKEN_PATH": str(write_token(folder))}):
        try:
            # Ray ends its processes without letting them delete their temporary files, of which TensorFlow writes many.
            # Those processes only: a Ray that another process starts would have too long a path for its sockets.
            with environment_set({"TMPDIR": str(scratch)}), interrupts_held_back(), signals_left_alone():
                start_ray(
                    folder,
                    reporter,
                    cpus=max(cores, math.ceil(wanted)),
                    gpus=None if gpus_per_worker else 0,
                    object_store_bytes=min(_OBJECT_STORE_BYTES, psutil.virtual_memory().available // 4),
                )
            yield
        finally:
            ray.shutdown()
            keep_logs(folder, log_dir)


@contextmanager
def signals_left_alone() -> Iterator[None]:
    """Keep `ray.init()` from replacing the handler of SIGTERM by one that ends the process without a word."""
    from ray._private import utils

    before = utils.set_sigterm_handler
    utils.set_sigterm_handler = lambda _handler: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = before


@contextmanager
def environment_set(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that Ray starts, and take them back."""
    environment = os.environ  # noqa: TID251 - written for child processes, nothing is read for its own sake
    before = {name: environment.get(name) for name in values}
    environment.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                environment.pop(name, None)
            else:
                environment[name] = value
