"""From a URI to a local file: local paths are left where they are, everything else is copied into the cache once.

Anything fsspec reads works, chained URIs (`zip://...::https://...`) included.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from graftwork.errors import GraftworkError
from graftwork.whole_file import replacing, write_whole

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


_ZIP = "zip://"


class FetchError(GraftworkError):
    """A URI could not be read: no such protocol here, no access, no network. The text names the URI."""


class MissingFileError(FetchError):
    """There is nothing at the URI."""


def is_remote(uri: str) -> bool:
    """Whether a URI needs fsspec; false for plain paths and `file://`."""
    return ("://" in uri or "::" in uri) and not _is_file_uri(uri)


def absolute_uri(uri: str, base_dir: Path) -> str:
    """A plain path as an absolute one, starting at `base_dir`; a remote URI as it is."""
    if is_remote(uri):
        return uri
    # Unlike Path's own, it leaves `~name` as it is where there is no such user.
    path = os.path.expanduser(uri.removeprefix("file://") if _is_file_uri(uri) else uri)  # noqa: PTH111
    return os.path.normpath(base_dir.absolute() / path)


def open_file_system(uri: str) -> tuple[AbstractFileSystem, str]:
    """The fsspec file system of a remote URI and the path within it.

    Raises:
        FetchError: unknown protocol, missing driver package, or the outer archive cannot be reached.
    """
    with driver_errors(uri, "opened"):
        if uri.startswith(_ZIP) and "::" in uri:
            path, _, archive = uri.removeprefix(_ZIP).partition("::")
            return _zip_archive(archive, _state_of(archive)), path
        return _file_system(uri)


@contextmanager
def driver_errors(uri: str, done: str) -> Iterator[None]:
    """Turn what fsspec's drivers raise, each its own, into ours.

    Args:
        uri: what the block is about.
        done: what cannot be done with it, such as `read`.

    Raises:
        MissingFileError: nothing is at the URI.
        FetchError: anything else went wrong.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise _nothing_at(uri, error) from error
    except Exception as error:
        raise FetchError(f"{uri}: cannot be {done} ({type(error).__name__}: {error})") from error


def _file_system(uri: str) -> tuple[AbstractFileSystem, str]:
    from fsspec.core import url_to_fs

    file_system, path = url_to_fs(uri)
    return file_system, path


@lru_cache(maxsize=8)
def _zip_archive(archive: str, state: tuple[int, int] | None) -> AbstractFileSystem:
    """An archive, opened once: its directory is read each time, and has an entry for every picture."""
    del state
    return _file_system(f"{_ZIP}::{archive}")[0]


def _state_of(archive: str) -> tuple[int, int] | None:
    """What tells a local archive from an older one of its name; a remote one is taken not to change meanwhile."""
    if is_remote(archive):
        return None
    found = Path(archive.removeprefix("file://")).stat()
    return found.st_mtime_ns, found.st_size


def local_path(uri: str, cache_dir: Path, *, refresh: bool = False) -> Path:
    """A local file with the content of a URI.

    Args:
        uri: an absolute local path or a remote URI.
        cache_dir: where copies of remote files are kept.
        refresh: ask whether the remote file has changed since it was copied, and copy it again if so. Without it an
            existing copy is taken as it is, and no connection is made.

    Raises:
        MissingFileError: nothing is at the URI.
        FetchError: it cannot be read.
    """
    if not is_remote(uri):
        return Path(absolute_uri(uri, Path.cwd()))
    copy = _copy_path(uri, cache_dir)
    if copy.exists() and not refresh:
        return copy
    file_system, path = open_file_system(uri)
    with driver_errors(uri, "read"):
        version = json.dumps(file_system.info(path), sort_keys=True, default=str)
        note = copy.with_name(f"{copy.name}.version")
        if copy.exists() and note.exists() and note.read_text() == version:
            return copy
        # The note goes first: a crash between the two leaves no copy that passes for current.
        note.unlink(missing_ok=True)
        with replacing(copy) as temporary:
            file_system.get_file(path, str(temporary))
        write_whole(note, version)
    return copy


def read_bytes(uri: str) -> bytes:
    """The content of a file, local or remote; no copy is kept.

    Args:
        uri: an absolute local path or a remote URI.

    Raises:
        MissingFileError: nothing is at the URI.
        FetchError: it cannot be read.
    """
    if not is_remote(uri):
        try:
            return Path(absolute_uri(uri, Path.cwd())).read_bytes()
        except FileNotFoundError as error:
            raise MissingFileError(f"{uri}: nothing is there") from error
        except (OSError, ValueError) as error:  # ValueError: a path that no system has, such as one with a NUL
            raise FetchError(f"{uri}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    file_system, path = open_file_system(uri)
    with driver_errors(uri, "read"):
        content: bytes = file_system.cat_file(path)
        return content


def beside_table(table: str, path: str) -> str:
    """Where a path in a table of examples leads: it starts at the table's folder.

    Args:
        table: absolute path or URI of the table.
        path: a path, an absolute one or a URI.
    """
    if is_remote(path):
        return path
    if not is_remote(table):
        return absolute_uri(path, Path(table).parent)
    head, chain, rest = table.partition("::")
    folder = head.rpartition("/")[0]
    return f"{folder}/{path.lstrip('/')}{chain}{rest}"


def _nothing_at(uri: str, error: FileNotFoundError) -> FetchError:
    """Drivers call it the same when a server does not answer; the cause tells."""
    if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
        return FetchError(f"{uri}: cannot be reached ({error.__cause__})")
    return MissingFileError(f"{uri}: nothing is there")


def _is_file_uri(uri: str) -> bool:
    return uri.startswith("file://") and "::" not in uri


def _copy_path(uri: str, cache_dir: Path) -> Path:
    """Where the copy of a remote file lies; the only place that builds this name."""
    digest = hashlib.sha256(uri.encode()).hexdigest()
    return cache_dir / "files" / digest[:2] / (digest + PurePosixPath(uri.partition("::")[0]).suffix[:16])
