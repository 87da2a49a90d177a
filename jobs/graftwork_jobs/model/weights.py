"""Brings files of weights here: ImageNet weights into a cache that can be filled in advance, others by URI."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import httpx

from graftwork.data_files.fetch import FetchError, absolute_uri, is_remote, local_path, open_file_system
from graftwork.errors import Problem, SpecError
from graftwork.progress import Reporter
from graftwork.whole_file import replacing
from graftwork_jobs.model.catalog import Architecture, WeightsFile

_CHUNK_BYTES = 1024 * 1024
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)


def imagenet_weights(
    architecture: Architecture, image_size: tuple[int, int], *, weights_dir: Path, reporter: Reporter
) -> Path:
    """The file of an architecture's ImageNet weights, downloaded unless it lies in the folder already.

    Args:
        architecture: whose weights.
        image_size: height and width in pixels they will be used at.
        weights_dir: the cache.
        reporter: shows the download.

    Raises:
        SpecError: neither there nor to be downloaded, or damaged; says which file to put where.
    """
    file = architecture.weights_for(image_size)
    path = weights_dir / file.name
    if not path.exists():
        _download(file, path, reporter)
    _verify(file, path)
    return path


def file_at(uri: str, *, base_dir: Path, cache_dir: Path, where: str) -> Path:
    """A local file or folder for a path or URI in a spec.

    Args:
        uri: local path, relative to `base_dir`, or any URI fsspec reads.
        base_dir: the spec file's folder.
        cache_dir: where copies of remote files go.
        where: YAML path, for the error.

    Raises:
        SpecError: nothing is there or it cannot be read.
    """
    try:
        path = _folder(uri, cache_dir) if is_remote(uri) else None
        if path is None:
            path = local_path(absolute_uri(uri, base_dir), cache_dir)
    except FetchError as error:
        raise SpecError(
            Problem(
                where=where,
                received=f"{uri} ({error})",
                expected="a file that can be read",
                fix="Check the URI, the network and the credentials.",
            )
        ) from error
    if not path.exists():
        tried = "" if is_remote(uri) or Path(uri).is_absolute() else f" (looked at {path})"
        raise SpecError(
            Problem(
                where=where,
                received=f"{uri}, where nothing is{tried}",
                expected="an existing file or folder",
                fix="Give the right path; relative paths start at the spec file's folder.",
            )
        )
    return path


def _folder(uri: str, cache_dir: Path) -> Path | None:
    """A local copy of a remote folder; None if the URI is not one."""
    target = cache_dir / "folders" / hashlib.sha256(uri.encode()).hexdigest()
    if target.exists():
        return target
    file_system, path = open_file_system(uri)
    try:
        if not file_system.isdir(path):
            return None
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            copy = Path(temporary) / "folder"
            file_system.get(path.rstrip("/") + "/", str(copy), recursive=True)
            if not target.exists():
                copy.rename(target)
    except Exception as error:
        raise FetchError(f"{uri}: cannot be read ({type(error).__name__}: {error})") from error
    return target


def _download(file: WeightsFile, path: Path, reporter: Reporter) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            httpx.stream("GET", file.url, timeout=_TIMEOUT, follow_redirects=True) as response,
            replacing(path) as temporary,
        ):
            response.raise_for_status()
            size = int(response.headers.get("Content-Length", 0)) or None
            with (
                reporter.task(f"download {file.name}", None if size is None else float(size), "B") as task,
                temporary.open("wb") as stream,
            ):
                for chunk in response.iter_bytes(_CHUNK_BYTES):
                    stream.write(chunk)
                    task.advance(len(chunk))
            _verify(file, temporary)
    except (httpx.HTTPError, OSError) as error:
        raise SpecError(
            Problem(
                where="spec.backbone.weights",
                received=f"imagenet, but {file.url} cannot be downloaded ({type(error).__name__}: {error})",
                expected=f"the file {path}{_expected_hash(file)}",
                fix=f"Download {file.url} where there is a network and put it there as {path}, or use weights: none "
                "or the path of a .weights.h5 file.",
            )
        ) from error


def _verify(file: WeightsFile, path: Path) -> None:
    if file.hash is None:
        return
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, file.hash_algorithm).hexdigest()
    if found != file.hash:
        raise SpecError(
            Problem(
                where="spec.backbone.weights",
                received=f"{path} with {file.hash_algorithm} {found}",
                expected=f"{file.hash_algorithm} {file.hash}",
                fix=f"The file is damaged or another one: delete it, or put the one from {file.url} there.",
            )
        )


def _expected_hash(file: WeightsFile) -> str:
    return "" if file.hash is None else f" with {file.hash_algorithm} {file.hash}"
