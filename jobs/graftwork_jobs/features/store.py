"""The feature store: one memory-mapped array for each trunk, picture setting and split, named by what decides it.

An entry is written under a temporary name and renamed when whole, so a killed writer leaves no half-written entry. It
ends with a digest of its content, so one that a disk or a copy has damaged is found out and never used.
Knows nothing of Keras; who computes features is `graftwork_jobs.features.extract`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from graftwork.errors import PermanentError

_SUFFIX = ".npy"
_UNFINISHED = ".unfinished"
# A writer that has not touched its file for so long is gone.
_ABANDONED_S = 6 * 3600
# What an entry ends with, behind the array, where NumPy does not look: a mark and SHA-256 of all that comes before.
_MARK = b"graftftr"
_TRAILER_BYTES = len(_MARK) + hashlib.sha256().digest_size
_CHUNK_BYTES = 4 * 1024**2
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class NoRoomError(PermanentError):
    """The disk of the feature store is full; another attempt would find it so too."""


class DamagedEntryError(Exception):
    """An entry is not what was written; it has been deleted, and has to be computed again."""


def feature_key(facts: Mapping[str, Any]) -> str:
    """Name of an entry: SHA-256 of everything that decides its content.

    Args:
        facts: JSON-ready; the trunk's weights and cut, the picture setting, the digests of the pictures.
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class FeatureStore:
    """Entries below one folder, bounded in size.

    Attributes:
        root: the folder.
        limit_bytes: the least recently used entries beyond this are deleted.
    """

    root: Path
    limit_bytes: int

    @classmethod
    def below(cls, root: Path) -> Self:
        """A store that keeps to a quarter of the room there is: what it holds and what is free."""
        root.mkdir(parents=True, exist_ok=True)
        return cls(root=root, limit_bytes=cls.limit_below(root))

    @staticmethod
    def limit_below(root: Path) -> int:
        """Bytes that a store in a folder keeps to; the folder need not exist."""
        held = sum(size for _, size, _ in _files(root, _SUFFIX))
        existing = next(folder for folder in (root, *root.absolute().parents) if folder.is_dir())
        return (held + shutil.disk_usage(existing).free) // 4

    def open(self, key: str, *, verify: bool = True) -> NDArray[np.float32] | None:
        """An entry, read-only and memory-mapped, shape (rows, ...); None if there is none.

        Args:
            key: the entry.
            verify: read all of it and compare with its digest; otherwise only its size is looked at. One process of a
                machine is enough.

        Raises:
            DamagedEntryError: its content is not what was written.
        """
        path = self._path(key)
        try:
            if verify and not _is_whole(path):
                path.unlink(missing_ok=True)
                raise DamagedEntryError(path)
            features: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            return None
        except (ValueError, EOFError) as error:  # shorter than its own header says
            path.unlink(missing_ok=True)
            raise DamagedEntryError(path) from error
        with suppress(FileNotFoundError):  # another process made room meanwhile; what is mapped stays readable
            os.utime(path)
        return features

    def unfinished(self, key: str, owner: str) -> Path:
        """File in which the writers of one run on one machine build an entry together.

        Args:
            key: the entry.
            owner: the run and the machine; others never share an unfinished file, even on a shared volume.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        return self.root / f"{key}.{owner}{_UNFINISHED}"

    def begin(self, key: str, owner: str, shape: tuple[int, ...]) -> None:
        """Make the unfinished file, at full size, so that a full disk is noticed before anything is computed.

        Raises:
            NoRoomError: there is no room.
        """
        path = self.unfinished(key, owner)
        # Not truncated in place: a writer of an earlier attempt may still have it mapped.
        path.unlink(missing_ok=True)
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        size = path.stat().st_size + _TRAILER_BYTES
        try:
            with path.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, size)
        except OSError as error:
            path.unlink(missing_ok=True)
            if error.errno not in _DISK_FULL:
                raise
            raise _no_room(path, size, error) from error

    def discard(self, key: str, owner: str) -> None:
        """Delete the unfinished file, if it is there."""
        self.unfinished(key, owner).unlink(missing_ok=True)

    def commit(self, key: str, owner: str) -> None:
        """Seal the unfinished file with its digest, give it its name, and make room.

        Raises:
            NoRoomError: the disk is full.
        """
        path = self.unfinished(key, owner)
        try:
            with path.open("r+b") as stream:
                content = os.fstat(stream.fileno()).st_size - _TRAILER_BYTES
                trailer = _MARK + _digest_of(stream, content)
                stream.seek(content)
                stream.write(trailer)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            if error.errno not in _DISK_FULL:
                raise
            raise _no_room(path, path.stat().st_size, error) from error
        path.replace(self._path(key))
        self.make_room()

    def make_room(self) -> None:
        """Delete abandoned unfinished files, and the least recently used entries beyond the limit.

        The newest entry stays, however large. A process that has a deleted entry mapped can go on reading it.
        """
        now = time.time()
        for path, _, used_at in _files(self.root, _UNFINISHED):
            if now - used_at > _ABANDONED_S:
                path.unlink(missing_ok=True)
        newest_first = sorted(_files(self.root, _SUFFIX), key=lambda entry: entry[2], reverse=True)
        total = sum(size for _, size, _ in newest_first[:1])
        for path, size, _ in newest_first[1:]:
            total += size
            if total > self.limit_bytes:
                path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.root / f"{key}{_SUFFIX}"


def _is_whole(path: Path) -> bool:
    """Whether an entry's content fits the digest it ends with."""
    with path.open("rb") as stream:
        content = os.fstat(stream.fileno()).st_size - _TRAILER_BYTES
        if content < 0:
            return False
        expected = _MARK + _digest_of(stream, content)
        return stream.read() == expected


def _digest_of(stream: BinaryIO, size: int) -> bytes:
    """SHA-256 of the first bytes of a file; leaves it positioned behind them."""
    state = hashlib.sha256()
    stream.seek(0)
    left = size
    while left and (chunk := stream.read(min(left, _CHUNK_BYTES))):
        state.update(chunk)
        left -= len(chunk)
    return state.digest()


def _no_room(path: Path, size: int, error: OSError) -> NoRoomError:
    return NoRoomError(
        f"{path.parent}: no room for {size} bytes of features ({error.strerror}). "
        "Free some space there, or set spec.features.cache to none."
    )


def _files(root: Path, suffix: str) -> list[tuple[Path, int, float]]:
    """Files with a suffix, each with its size in bytes and when it was last used (Unix time in seconds)."""
    found = []
    for path in root.glob(f"*{suffix}"):
        try:
            state = path.stat()
        except FileNotFoundError:
            continue  # another process made room meanwhile
        found.append((path, state.st_size, state.st_mtime))
    return found
