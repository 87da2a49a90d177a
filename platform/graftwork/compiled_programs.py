"""Programs that JAX has compiled, kept for the next process that needs the same ones.

Compiling a training step takes from seconds to minutes, and its outcome depends on nothing but the program, the
versions and the hardware, all of which are in the name JAX keeps it under. What holds for one kind of processor is not
for another, so each kind has a folder of its own: a home folder may be shared by many machines.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from graftwork.settings import set_process_defaults

_MAX_BYTES: Final = 2 * 1024**3
_CPUINFO: Final = Path("/proc/cpuinfo")
_CPU_KEYS: Final = ("model name", "flags", "CPU part", "Features")


def keep_compiled_programs(directory: Path, *, max_bytes: int = _MAX_BYTES) -> None:
    """Let JAX in this process use and keep compiled programs; call it before JAX is imported.

    Where the folder cannot be written, nothing is kept. A program of which a killed process wrote only a part is
    compiled again (JAX warns of it). Users who set `JAX_COMPILATION_CACHE_DIR` have their own.

    Args:
        directory: where.
        max_bytes: what is kept at most from earlier processes; those that have not been used for longest go first.
    """
    folder = directory / _processor()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    _shrink(folder, max_bytes)
    # By itself JAX keeps what took a second; the many small ones that draw initial weights take longer together.
    kept = {"JAX_COMPILATION_CACHE_DIR": str(folder), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    set_process_defaults(kept)


def _shrink(folder: Path, max_bytes: int) -> None:
    kept = 0
    for _, size, file in sorted(_files(folder), reverse=True):
        kept += size
        if kept > max_bytes:
            file.unlink(missing_ok=True)


def _files(folder: Path) -> Iterable[tuple[float, int, Path]]:
    for file in folder.iterdir():
        with suppress(FileNotFoundError):  # another process has just removed it
            found = file.stat()
            yield max(found.st_atime, found.st_mtime), found.st_size, file


def _processor() -> str:
    """Names the kind of this machine's processor: programs for one with more instructions crash on another."""
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.exists() else [platform.processor()]
    told = sorted({line for line in lines if line.startswith(_CPU_KEYS)}) or lines[:1]
    return f"{platform.machine()}-{hashlib.sha256(repr(told).encode()).hexdigest()[:12]}"
