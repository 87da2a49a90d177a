"""Reads every picture once: content digest and whether it decodes, in threads, remembered between scans.

The memory is one SQLite file in the cache folder, keyed by path, size and modification time; deleting it costs time,
nothing else.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from graftwork.data_files.fetch import FetchError, MissingFileError, is_remote, local_path
from graftwork.errors import PermanentError
from graftwork.preprocess.image import ImageError, ImageSpec, decode_image
from graftwork.preprocess.text import text_digest
from graftwork.progress import Reporter

NO_SUCH_FILE: Final = "there is no such file"
"""Why an example cannot be used whose file is not where it should be."""

# Every byte of a picture is decoded whatever the target size; a small one makes the check cheap.
_CHECK = ImageSpec(height=32, width=32)
# A file that changed this recently could change again without its time stamp showing it.
_SETTLED_NS = 2 * 10**9
_REMOTE_THREADS = 16
_CHUNK = 512


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What reading an example showed.

    Attributes:
        digest: SHA-256 of the file or the text in hex; empty if it could not be read.
        reason: why it cannot be used; None if it can.
    """

    digest: str
    reason: str | None


@dataclass(frozen=True)
class _FileState:
    path: str
    size: int
    mtime_ns: int


def fingerprint_all(uris: Sequence[str], *, cache_dir: Path, reporter: Reporter) -> dict[str, Fingerprint]:
    """Read and check pictures, except those whose files have not changed since an earlier scan.

    Args:
        uris: absolute local paths and remote URIs.
        cache_dir: where copies of remote files and the memory of earlier scans are kept.
        reporter: told how far it is.

    Raises:
        PermanentError: a remote store stopped answering.
    """
    distinct = list(dict.fromkeys(uris))
    threads = max(len(os.sched_getaffinity(0)), _REMOTE_THREADS if any(map(is_remote, distinct)) else 1)
    found: dict[str, Fingerprint] = {}
    with (
        closing(_Memory(cache_dir / "pictures.sqlite")) as memory,
        ThreadPoolExecutor(threads, thread_name_prefix="scan") as pool,
        reporter.task("check pictures", len(distinct), "pictures") as task,
    ):
        for start in range(0, len(distinct), _CHUNK):
            chunk = distinct[start : start + _CHUNK]
            states = dict(zip(chunk, pool.map(lambda uri: _locate(uri, cache_dir), chunk), strict=True))
            known = memory.recall(state for state in states.values() if isinstance(state, _FileState))
            fresh: list[tuple[_FileState, Fingerprint]] = []
            for uri, state, result in zip(chunk, states.values(), pool.map(_look(known), states.values()), strict=True):
                found[uri] = result
                if isinstance(state, _FileState) and state not in known:
                    fresh.append((state, result))
                task.advance()
            memory.remember(fresh)
    return found


def fingerprint_texts(texts: Sequence[str]) -> dict[str, Fingerprint]:
    """Digests of texts, and whether each is valid Unicode: JSON can hold halves of characters."""
    return {text: _text_fingerprint(text) for text in texts}


def _text_fingerprint(text: str) -> Fingerprint:
    try:
        text.encode()
    except UnicodeEncodeError:
        return Fingerprint(digest="", reason="it holds half of a character (a lone surrogate)")
    return Fingerprint(digest=text_digest(text), reason=None)


def _locate(uri: str, cache_dir: Path) -> _FileState | Fingerprint:
    """The local file of a URI, or why there is none."""
    try:
        path = local_path(uri, cache_dir, refresh=True)
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, MissingFileError):
        return Fingerprint(digest="", reason=NO_SUCH_FILE)
    except OSError as error:
        return Fingerprint(digest="", reason=f"it cannot be read ({error.strerror})")
    except FetchError as error:
        # Not a bad picture: leaving out whatever a broken connection hides would train on the wrong data.
        raise PermanentError(f"{error} Check the connection and start again.") from error
    return _FileState(str(path), status.st_size, status.st_mtime_ns)


class _look:  # noqa: N801 - used as a function
    """Fingerprint of a located file: from memory if known, else by reading it."""

    def __init__(self, known: dict[_FileState, Fingerprint]) -> None:
        self._known = known

    def __call__(self, state: _FileState | Fingerprint) -> Fingerprint:
        if isinstance(state, Fingerprint):
            return state
        return self._known.get(state) or _read(Path(state.path))


def _read(path: Path) -> Fingerprint:
    try:
        data = path.read_bytes()
    except OSError as error:
        return Fingerprint(digest="", reason=f"it cannot be read ({error.strerror})")
    digest = hashlib.sha256(data).hexdigest()
    try:
        decode_image(data, _CHECK)
    except ImageError as error:
        return Fingerprint(digest=digest, reason=str(error))
    return Fingerprint(digest=digest, reason=None)


class _Memory:
    """Fingerprints of earlier scans."""

    def __init__(self, path: Path) -> None:
        from PIL import __version__ as pillow_version

        # Another Pillow may judge a damaged file otherwise.
        self._pillow = pillow_version
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = self._open(path)
        except sqlite3.DatabaseError:
            path.unlink()
            self._database = self._open(path)

    @staticmethod
    def _open(path: Path) -> sqlite3.Connection:
        database = sqlite3.connect(path, timeout=60)
        with database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS pictures_v1 (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER,"
                " pillow TEXT, digest TEXT, reason TEXT)"
            )
        return database

    def recall(self, states: Iterable[_FileState]) -> dict[_FileState, Fingerprint]:
        """Those of the files that are remembered and unchanged."""
        return dict(self._recall({state.path: state for state in states}))

    def _recall(self, states: dict[str, _FileState]) -> Iterator[tuple[_FileState, Fingerprint]]:
        marks = ",".join("?" * len(states))
        query = f"SELECT path, size, mtime_ns, digest, reason FROM pictures_v1 WHERE pillow = ? AND path IN ({marks})"  # noqa: S608 - marks only
        for path, size, mtime_ns, digest, reason in self._database.execute(query, [self._pillow, *states]):
            if states[path] == _FileState(path, size, mtime_ns):
                yield states[path], Fingerprint(digest=digest, reason=reason)

    def remember(self, results: Iterable[tuple[_FileState, Fingerprint]]) -> None:
        """Keep what was found, except of files that may still be changing or could not be read at all."""
        settled_before = time.time_ns() - _SETTLED_NS
        with self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO pictures_v1 VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (state.path, state.size, state.mtime_ns, self._pillow, result.digest, result.reason)
                    for state, result in results
                    if result.digest and state.mtime_ns < settled_before
                ],
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()
