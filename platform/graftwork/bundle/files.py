"""A bundle's files on disk: their digests, and directories that appear whole or not at all. Knows no manifest."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from graftwork.errors import PermanentError, Problem, SpecError

# Some libraries report a full disk as an error of their own; with less than this left, the disk is the cause.
_NEARLY_FULL_BYTES = 1 << 20
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class DiskFullError(PermanentError):
    """There is not enough free space for what was to be written; nothing of it is left."""


class UnsafePathError(PermanentError):
    """A directory holds something that is neither a plain file nor a directory, such as a symbolic link."""


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_below(path: Path) -> list[str]:
    """Paths of all files below a directory, relative to it, with forward slashes, sorted.

    Raises:
        UnsafePathError: it holds a link, a socket or the like; these could lead out of the directory.
    """
    found: list[str] = []
    pending = [path]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    pending.append(Path(entry.path))
                elif stat.S_ISREG(mode):
                    found.append(Path(entry.path).relative_to(path).as_posix())
                else:
                    kind = "a symbolic link" if stat.S_ISLNK(mode) else "a special file"
                    raise UnsafePathError(f"{entry.path}: received {kind}, expected plain files and directories only.")
    return sorted(found)


def size_below(path: Path) -> int:
    """Bytes in all files below a directory."""
    return sum((path / name).stat().st_size for name in files_below(path))


@contextmanager
def staged_directory(destination: Path, *, needed_bytes: int, replace: bool = False) -> Iterator[Path]:
    """Make a directory that appears whole or not at all.

    Yields an empty directory beside `destination`; when the block ends well it takes that name, otherwise it is
    removed.

    Args:
        destination: the final name; its parents are made.
        needed_bytes: about how much will be written.
        replace: take the place of a directory of that name, which stays until the new one is complete.

    Raises:
        SpecError: `destination` exists and holds something, and `replace` is false.
        DiskFullError: there is not enough free space.
    """
    if not replace and _is_occupied(destination):
        raise SpecError(
            Problem(
                where=str(destination),
                received="a path that exists",
                expected="a new or empty directory",
                fix="Name another directory, or remove this one first.",
            )
        )
    destination.parent.mkdir(parents=True, exist_ok=True)
    require_free_space(destination, needed_bytes)
    staged = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", suffix=".partial", dir=destination.parent))
    staged.chmod(0o755)  # mkdtemp gives 0700; others may read a bundle, as any other file of the user's
    try:
        yield staged
        _move_into_place(staged, destination)
    except BaseException as error:
        free_bytes = shutil.disk_usage(destination.parent).free
        shutil.rmtree(staged, ignore_errors=True)
        if _says_disk_full(error) or (isinstance(error, Exception) and free_bytes < _NEARLY_FULL_BYTES):
            raise _disk_full(destination, needed_bytes, free_bytes) from error
        raise


def require_free_space(destination: Path, needed_bytes: int) -> None:
    """Check that so many bytes can be written.

    Args:
        destination: what is to be written; one of its parents must exist.
        needed_bytes: about how much that is.

    Raises:
        DiskFullError: they cannot.
    """
    free_bytes = _free_bytes(destination)
    if free_bytes < needed_bytes:
        raise _disk_full(destination, needed_bytes, free_bytes)


@contextmanager
def disk_full_errors(destination: Path, needed_bytes: int) -> Iterator[None]:
    """Say how much was needed and how much was free if the block fails for lack of space.

    Raises:
        DiskFullError: it did.
    """
    try:
        yield
    except OSError as error:
        if not _says_disk_full(error):
            raise
        raise _disk_full(destination, needed_bytes, _free_bytes(destination)) from error


def _says_disk_full(error: BaseException) -> bool:
    if isinstance(error, shutil.Error):  # copying a tree collects what went wrong as text
        return any(f"[Errno {number}]" in str(error) for number in _DISK_FULL)
    return isinstance(error, OSError) and error.errno in _DISK_FULL


def _free_bytes(path: Path) -> int:
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    return shutil.disk_usage(existing).free


def _disk_full(destination: Path, needed_bytes: int, free_bytes: int) -> DiskFullError:
    problem = Problem(
        where=str(destination),
        received=f"{free_bytes:,} bytes of free space",
        expected=f"about {needed_bytes:,} bytes",
        fix="Free some space, or set GRAFT_HOME to a folder on a larger disk.",
    )
    return DiskFullError(str(problem))


def _is_occupied(path: Path) -> bool:
    return path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir())))


def _move_into_place(staged: Path, destination: Path) -> None:
    if not _is_occupied(destination):
        staged.replace(destination)  # an empty directory gives way
        return
    old = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", suffix=".old", dir=destination.parent))
    destination.replace(old / "content")
    try:
        staged.replace(destination)
    except BaseException:
        (old / "content").replace(destination)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
