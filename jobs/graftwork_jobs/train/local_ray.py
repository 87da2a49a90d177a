"""A Ray of our own for one run on this machine: started for it, quiet, on loopback, and gone with it."""

from __future__ import annotations

import logging
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from graftwork.errors import PermanentError
from graftwork.progress import Reporter
from graftwork_jobs.interrupts import interrupts_held_back

# An address of the loopback interface that Ray does not turn into the machine's outward one, as it does 127.0.0.1.
_LOOPBACK = "127.0.0.2"
_FOLDER_PREFIX = "graft-ray-"
_OBJECT_STORE_BYTES = 128 * 1024**2
_STARTS = 3
# What Ray says when its own processes take longer than it waits for them.
_TOO_SLOW = ("timed out during startup", "Failed to connect to GCS", "Failed to get node info")
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
    # Sockets live below this folder and their paths may have 107 characters: it must be short.
    _remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-"))
    with environment_set({**_ENVIRONMENT, "RAY_AUTH_TOKEN_PATH": str(_write_token(folder))}):
        _read_settings_anew()
        try:
            with interrupts_held_back(), signals_left_alone():
                _start(max(cores, math.ceil(wanted)), folder, reporter, with_gpus=bool(gpus_per_worker))
            yield
        finally:
            ray.shutdown()
            _keep_logs(folder, log_dir)


def _start(cpus: int, folder: Path, reporter: Reporter, *, with_gpus: bool) -> None:
    """Start Ray, again if the machine is too busy: Ray waits 30 s for its own processes, and no setting changes that.

    Raises:
        PermanentError: it did not start in any attempt.
    """
    import ray

    for attempt in range(1, _STARTS + 1):
        before = set(psutil.Process().children())
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=None if with_gpus else 0,
                include_dashboard=False,
                object_store_memory=min(_OBJECT_STORE_BYTES, psutil.virtual_memory().available // 4),
                log_to_driver=False,
                logging_level=logging.ERROR,
                _node_ip_address=_LOOPBACK,
                _temp_dir=str(folder),
            )
        except Exception as error:
            ray.shutdown()
            _end(set(psutil.Process().children()) - before)
            if not any(words in str(error) for words in _TOO_SLOW):
                raise
            if attempt == _STARTS:
                raise PermanentError(
                    f"Ray did not start within 30 s, {_STARTS} times: this machine is too busy. Run the job again when "
                    "there is less to do; nothing that was computed is lost."
                ) from error
            reporter.warn("Ray did not start within 30 s: the machine is busy. Trying again.")
        else:
            return


def _end(processes: set[psutil.Process]) -> None:
    """End what a start that failed has left, with all that it started."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            for child in process.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def _remove_leftovers() -> None:
    """Delete folders of drivers that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        owner = folder.name.removeprefix(_FOLDER_PREFIX).split("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            # Another user's folder stays: it cannot be deleted, and need not be.
            shutil.rmtree(folder, ignore_errors=True)


def _write_token(folder: Path) -> Path:
    """A secret without which nobody else on this machine can use this Ray."""
    path = folder / "token"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return path


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


def _read_settings_anew() -> None:
    """Ray reads mode and token once a process, which may have been before they were set."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # compiled

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _keep_logs(folder: Path, log_dir: Path) -> None:
    logs = folder / "session_latest" / "logs"
    if logs.is_dir():
        log_dir.mkdir(parents=True, exist_ok=True)
        shutil.copytree(logs, log_dir, dirs_exist_ok=True, ignore_dangling_symlinks=True)
    shutil.rmtree(folder, ignore_errors=True)


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
