"""A Ray of our own for one run on this machine: started for it, quiet, on loopback, and gone with it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from graftwork.errors import Problem, SpecError
from graftwork.interrupts import interrupts_held_back
from graftwork.progress import Reporter
from graftwork.ray_on_loopback import keep_logs, make_folder, start_ray, write_token
from graftwork.spec.fine_tune_job import Scaling

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
    scaling: Scaling, *, trials_at_a_time: int = 1, log_dir: Path, reporter: Reporter
) -> Iterator[None]:
    """Run Ray on this machine inside the block.

    More workers than cores are allowed and warned about: results do not depend on the speed.

    Args:
        scaling: the workers to make room for.
        trials_at_a_time: trials of a search that are to run side by side, each like one of the workers.
        log_dir: where Ray's logs go when it ends.
        reporter: takes the warning about too few cores.

    Raises:
        SpecError: the machine has fewer GPUs than the workers ask for together.
    """
    import ray

    cores = len(os.sched_getaffinity(0))
    processes = max(scaling.workers, trials_at_a_time)
    wanted = processes * scaling.cpus_per_worker
    if wanted > cores:
        reporter.warn(
            f"{processes} workers with {scaling.cpus_per_worker:g} cores each share {cores} cores: training will be "
            f"slow. spec.scaling.workers: {max(1, int(cores / scaling.cpus_per_worker))} would fit."
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
                    gpus=None if scaling.gpus_per_worker else 0,
                    object_store_bytes=min(_OBJECT_STORE_BYTES, psutil.virtual_memory().available // 4),
                )
            _check_gpus(scaling)
            yield
        finally:
            ray.shutdown()
            keep_logs(folder, log_dir)


def _check_gpus(scaling: Scaling) -> None:
    """Refuse workers that can never be placed here: Ray would wait for their GPUs."""
    import ray

    found = ray.cluster_resources().get("GPU", 0.0)
    workers = scaling.min_workers or scaling.workers
    if workers * scaling.gpus_per_worker > found:
        raise SpecError(
            Problem(
                where="spec.scaling.gpusPerWorker",
                received=f"{scaling.gpus_per_worker:g} for each of {workers} workers",
                expected=f"at most {found:g} GPUs in all, which is what Ray finds here",
                fix="Ask for fewer workers, or `gpusPerWorker: 0` to train on the CPU.",
            )
        )


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
