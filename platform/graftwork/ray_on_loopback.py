"""A Ray of one process's own on this machine: its folder, its secret, its start on loopback, and its logs at the end.

Training and serving set it up differently; what is the same about it stands here. Ray is imported when it is started.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil

from graftwork.errors import PermanentError
from graftwork.progress import Reporter
from graftwork.ray_messages import log_ray_messages

# An address of the loopback interface that Ray does not turn into the machine's outward one, as it does 127.0.0.1.
_LOOPBACK = "127.0.0.2"
_STARTS = 3
# What Ray says when its own processes take longer than it waits for them.
_TOO_SLOW = ("timed out during startup", "Failed to connect to GCS", "Failed to get node info")


def make_folder(prefix: str) -> Path:
    """A folder for Ray's sockets and logs, named after this process; those of processes that were killed are removed.

    Sockets live far below it and their paths may have 97 characters (107 without HAProxy's): it must be short.

    Args:
        prefix: what its name begins with, before the process's number.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*-*"):
        owner = folder.name.removeprefix(prefix).partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            # Another user's folder stays: it cannot be deleted, and need not be.
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-"))


def write_token(folder: Path) -> Path:
    """A secret without which nobody else on this machine can use this Ray."""
    path = folder / "token"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return path


def start_ray(folder: Path, reporter: Reporter, *, cpus: int, gpus: int | None = 0, object_store_bytes: int) -> None:
    """Start Ray, again if the machine is too busy: Ray waits 30 s for its own processes, and no setting changes that.

    Args:
        folder: from `make_folder`.
        reporter: told of further attempts.
        cpus: cores that Ray hands out.
        gpus: GPUs that Ray hands out; None for all there are.
        object_store_bytes: memory for objects.

    Raises:
        PermanentError: it did not start in any attempt.
    """
    import ray

    _read_settings_anew()
    _never_start_by_itself()
    log_ray_messages()
    for attempt in range(1, _STARTS + 1):
        before = set(psutil.Process().children())
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=gpus,
                include_dashboard=False,
                object_store_memory=object_store_bytes,
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
                    f"Ray did not start within 30 s, {_STARTS} times: this machine is too busy. Run the same command "
                    "again when there is less to do; nothing that was computed is lost."
                ) from error
            reporter.warn("Ray did not start within 30 s: the machine is busy. Trying again.")
        else:
            return


def keep_logs(folder: Path, log_dir: Path) -> None:
    """Remove the folder of a Ray that has ended, but for its logs."""
    logs = folder / "session_latest" / "logs"
    if logs.is_dir():
        log_dir.mkdir(parents=True, exist_ok=True)
        shutil.copytree(logs, log_dir, dirs_exist_ok=True, ignore_dangling_symlinks=True)
    shutil.rmtree(folder, ignore_errors=True)


def _read_settings_anew() -> None:
    """Ray reads mode and token once a process, which may have been before they were set."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # compiled

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _never_start_by_itself() -> None:
    """Keep Ray from starting another Ray, without secret and on all addresses, for a call that comes after its end."""
    from ray._private import auto_init_hook

    auto_init_hook.enable_auto_connect = False


def _end(processes: set[psutil.Process]) -> None:
    """End what a start that failed has left, with all that it started."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            for child in process.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            process.kill()
    psutil.wait_procs(processes, timeout=10)
