"""The feature store: one memory-mapped array for each trunk, picture setting and split, named by what decides it.

An entry is written under a temporary name and renamed when whole, so a killed writer leaves no half-written entry.
Knows nothing of Keras; who computes features is `graftwork_jobs.features.extract`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_SUFFIX = ".npy"
_UNFINISHED = ".unfinished"
# A writer that has not touched its file for so long is gone.
_ABANDONED_S = 6 * 3600


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

    def open(self, key: str) -> NDArray[np.float32] | None:
        """An entry, read-only and memory-mapped, shape (rows, ...); None if there is none."""
        path = self._path(key)
        try:
            features: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            return None
        with suppress(FileNotFoundError):  # another process made room meanwhile; what is mapped stays readable
            os.utime(path)
        return features

    def unfinished(self, key: str, owner: str) -> Path:
        """File in which the writers of one run build an entry together.

        Args:
            key: the entry.
            owner: the run; different runs never share an unfinished file.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        return self.root / f"{key}.{owner}{_UNFINISHED}"

    def begin(self, key: str, owner: str, shape: tuple[int, ...]) -> None:
        """Make the unfinished file, at full size, so that a full disk is noticed before anything is computed.

        Raises:
            OSError: there is no room.
        """
        path = self.unfinished(key, owner)
        # Not truncated in place: a writer of an earlier attempt may still have it mapped.
        path.unlink(missing_ok=True)
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        size = path.stat().st_size
        try:
            with path.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, size)
        except OSError as error:
            path.unlink(missing_ok=True)
            reason = f"no room for {size} bytes of features ({error.strerror}); set spec.features.cache to none"
            raise OSError(error.errno, reason, str(path)) from error

    def discard(self, key: str, owner: str) -> None:
        """Delete the unfinished file, if it is there."""
        self.unfinished(key, owner).unlink(missing_ok=True)

    def commit(self, key: str, owner: str) -> None:
        """Give the unfinished file its name, and make room."""
        path = self.unfinished(key, owner)
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
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
