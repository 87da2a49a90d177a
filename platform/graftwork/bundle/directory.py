"""Bundle directories: sealing one with its digests, opening one after checking them, replaying golden examples."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from graftwork.bundle.manifest import MANIFEST_FILE, BundleManifest
from graftwork.errors import PermanentError, Problem, SpecError
from graftwork.preprocess.image import ImageSpec, decode_image

_CHUNK_BYTES = 1 << 20


class BundleError(PermanentError):
    """A bundle that is incomplete, changed, of an unknown format, or whose answers differ from those in training."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """An opened bundle.

    Attributes:
        path: its directory.
        manifest: its table of contents.
    """

    path: Path
    manifest: BundleManifest

    @property
    def image_spec(self) -> ImageSpec:
        """What pictures are brought to before the model sees them."""
        signature = self.manifest.input
        return ImageSpec(height=signature.height, width=signature.width, resize=signature.resize)

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, which holds the digests of all other files: names the bundle's whole content."""
        return file_digest(self.path / MANIFEST_FILE)


def seal_bundle(path: Path, manifest: BundleManifest) -> Bundle:
    """Write `manifest.json` with the digests of all files in the directory; the last step of making a bundle.

    Args:
        path: directory that holds everything else.
        manifest: table of contents; its `files` are filled in here.
    """
    files = {name: file_digest(path / name) for name in _files_below(path)}
    sealed = manifest.model_copy(update={"files": files})
    temporary = path / f".{MANIFEST_FILE}.tmp"
    with temporary.open("w") as stream:
        stream.write(json.dumps(sealed.model_dump(mode="json"), indent=2) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path / MANIFEST_FILE)
    return Bundle(path=path, manifest=sealed)


def open_bundle(path: Path) -> Bundle:
    """Open a bundle and check every file against its digest.

    Raises:
        SpecError: there is no bundle at `path`.
        BundleError: a file is missing, changed or not listed, or the format is unknown.
    """
    file = path / MANIFEST_FILE
    if not file.is_file():
        raise SpecError(
            Problem(
                where=str(path),
                received="no manifest.json" if path.is_dir() else "no such directory",
                expected="a bundle directory with a manifest.json",
                fix="Name the `bundle` folder of a finished run, or a registered model as NAME@ALIAS or NAME/VERSION.",
            )
        )
    try:
        manifest = BundleManifest.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise BundleError(
            f"{file}: {place}: {first['msg']}. The bundle is damaged or was written by another version of Graftwork."
        ) from error
    _check_files(path, manifest)
    return Bundle(path=path, manifest=manifest)


def replay_golden(bundle: Bundle, predict: Callable[[NDArray[np.uint8]], NDArray[np.float32]]) -> float:
    """Run the golden examples through an engine and compare with the scores seen in training.

    Args:
        bundle: the opened bundle.
        predict: engine; takes RGB pixels, shape (batch, height, width, 3), uint8; gives scores, shape (batch, labels).

    Returns:
        The largest absolute difference of a score.

    Raises:
        BundleError: a score differs by more than the manifest's tolerance, or is not a number.
    """
    golden = bundle.manifest.golden
    images = np.stack([decode_image((bundle.path / example.file).read_bytes(), bundle.image_spec) for example in golden])
    expected = np.asarray([example.scores for example in golden], dtype=np.float32)
    received = np.asarray(predict(images), dtype=np.float32)
    if received.shape != expected.shape:
        raise BundleError(
            f"{bundle.path}: the engine answered the golden examples with shape {received.shape}, "
            f"expected {expected.shape}."
        )
    differences = np.abs(received - expected).max(axis=1)
    worst = int(np.argmax(np.nan_to_num(differences, nan=np.inf)))
    largest = float(differences[worst])
    if not largest <= bundle.manifest.tolerance:
        raise BundleError(
            f"{bundle.path}: golden example {golden[worst].file} differs by {largest:.2g} from the trained model, "
            f"at most {bundle.manifest.tolerance:.2g} is allowed. The bundle must not be served with this engine."
        )
    return largest


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _files_below(path: Path) -> list[str]:
    return sorted(
        file.relative_to(path).as_posix()
        for file in path.rglob("*")
        if file.is_file() and file.relative_to(path).as_posix() != MANIFEST_FILE
    )


def _check_files(path: Path, manifest: BundleManifest) -> None:
    present = set(_files_below(path))
    if missing := sorted(set(manifest.files) - present):
        raise BundleError(f"{path}: the bundle lacks {', '.join(missing)}. Fetch it again from the registry.")
    if unlisted := sorted(present - set(manifest.files)):
        raise BundleError(f"{path}: the bundle holds files its manifest does not list: {', '.join(unlisted)}.")
    for name, expected in manifest.files.items():
        received = file_digest(path / name)
        if received != expected:
            raise BundleError(
                f"{path / name}: received SHA-256 {received[:12]}..., expected {expected[:12]}...: "
                "the file was changed after the bundle was made. Fetch it again from the registry."
            )
