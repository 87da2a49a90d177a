"""Bundle directories: sealing one with its digests, opening one after checking them, replaying golden examples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from graftwork.bundle.files import UnsafePathError, file_digest, files_below
from graftwork.bundle.manifest import MANIFEST_FILE, BundleManifest, ImageSignature, TextSignature
from graftwork.errors import PermanentError, Problem, SpecError
from graftwork.preprocess.image import ImageSpec
from graftwork.preprocess.inputs import InputSpec, read_batch
from graftwork.preprocess.text import TextSpec
from graftwork.whole_file import replacing

_NO_DIGEST = b"0" * 64


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

    @cached_property
    def input(self) -> InputSpec:
        """What examples are brought to before the model sees them."""
        match self.manifest.input:
            case ImageSignature() as image:
                return ImageSpec(height=image.height, width=image.width, resize=image.resize)
            case TextSignature() as text:
                tokenizer = (self.path / text.tokenizer).read_text(encoding="utf-8")
                return TextSpec(tokenizer=tokenizer, pad_id=text.pad_id, max_tokens=text.max_tokens)

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, which holds the digests of all other files: names the bundle's whole content."""
        return self.manifest.manifest_digest


def seal_bundle(path: Path, manifest: BundleManifest) -> Bundle:
    """Write `manifest.json` with the digests of all files in the directory; the last step of making a bundle.

    Args:
        path: directory that holds everything else.
        manifest: table of contents; its `files` are filled in here.
    """
    files = {name: file_digest(path / name) for name in files_below(path) if name != MANIFEST_FILE}
    open_digest = {"files": files, "manifest_digest": _NO_DIGEST.decode()}
    content = json.dumps(manifest.model_copy(update=open_digest).model_dump(mode="json"), indent=2).encode() + b"\n"
    digest = hashlib.sha256(content).hexdigest()
    # Read back what is written, so that anything the manifest's rules refuse is refused here and not by a reader.
    sealed = BundleManifest.model_validate_json(content.replace(_NO_DIGEST, digest.encode()))
    with replacing(path / MANIFEST_FILE) as temporary:
        temporary.write_bytes(content.replace(_NO_DIGEST, digest.encode()))
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
    manifest = _read_manifest(file)
    _check_files(path, manifest)
    return Bundle(path=path, manifest=manifest)


def replay_golden(bundle: Bundle, predict: Callable[[NDArray[Any]], NDArray[np.float32]]) -> float:
    """Run the golden examples through an engine and compare with the scores seen in training.

    Args:
        bundle: the opened bundle.
        predict: engine; takes what `read_batch` gives; gives scores, shape (batch, labels).

    Returns:
        The largest absolute difference of a score.

    Raises:
        BundleError: a score differs by more than the manifest's tolerance, or is not a number.
    """
    return compare_scores(bundle, golden_scores(bundle, predict))


def golden_scores(bundle: Bundle, predict: Callable[[NDArray[Any]], NDArray[np.float32]]) -> NDArray[np.float32]:
    """What an engine says of the golden examples, shape (golden examples, labels).

    Args:
        bundle: the opened bundle.
        predict: engine; takes what `read_batch` gives; gives scores, shape (batch, labels).
    """
    contents = [(bundle.path / example.file).read_bytes() for example in bundle.manifest.golden]
    return predict(read_batch(contents, bundle.input))


def compare_scores(bundle: Bundle, scores: NDArray[np.float32], *, tolerance: float | None = None) -> float:
    """Compare scores of the golden examples with those seen in training.

    Args:
        bundle: the opened bundle.
        scores: shape (golden examples, labels).
        tolerance: largest difference that counts as the same; the manifest's by default.

    Returns:
        The largest absolute difference of a score.

    Raises:
        BundleError: a score differs by more than the tolerance, or is not a number.
    """
    allowed = bundle.manifest.tolerance if tolerance is None else tolerance
    golden = bundle.manifest.golden
    expected = np.asarray([example.scores for example in golden], dtype=np.float32)
    received = np.asarray(scores, dtype=np.float32)
    if received.shape != expected.shape:
        raise BundleError(
            f"{bundle.path}: the engine answered the golden examples with shape {received.shape}, "
            f"expected {expected.shape}."
        )
    differences = (np.abs(received - expected) / np.asarray(bundle.manifest.output.scales, np.float32)).max(axis=1)
    worst = int(np.argmax(np.nan_to_num(differences, nan=np.inf)))
    largest = float(differences[worst])
    if not largest <= allowed:
        raise BundleError(
            f"{bundle.path}: golden example {golden[worst].file} differs by {largest:.2g} from the trained model, "
            f"at most {allowed:.2g} is allowed. The bundle must not be served with this engine."
        )
    return largest


def _read_manifest(file: Path) -> BundleManifest:
    content = file.read_bytes()
    try:
        manifest = BundleManifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "content"
        raise BundleError(
            f"{file}: {place}: {first['msg']}. The bundle is damaged or was written by another version of Graftwork."
        ) from error
    expected = manifest.manifest_digest
    received = hashlib.sha256(content.replace(expected.encode(), _NO_DIGEST)).hexdigest()
    if received != expected:
        raise _changed(file, received, expected)
    return manifest


def _check_files(path: Path, manifest: BundleManifest) -> None:
    try:
        present = set(files_below(path)) - {MANIFEST_FILE}
    except UnsafePathError as error:
        raise BundleError(f"{error} Fetch the bundle again from the registry.") from error
    if missing := sorted(set(manifest.files) - present):
        raise BundleError(f"{path}: the bundle lacks {', '.join(missing)}. Fetch it again from the registry.")
    if unlisted := sorted(present - set(manifest.files)):
        raise BundleError(f"{path}: the bundle holds files its manifest does not list: {', '.join(unlisted)}.")
    if unlisted := sorted({example.file for example in manifest.golden} - set(manifest.files)):
        raise BundleError(f"{path}: golden examples are not among the bundle's files: {', '.join(unlisted)}.")
    for name, expected in manifest.files.items():
        received = file_digest(path / name)
        if received != expected:
            raise _changed(path / name, received, expected)


def _changed(file: Path, received: str, expected: str) -> BundleError:
    return BundleError(
        f"{file}: received SHA-256 {received[:12]}..., expected {expected[:12]}...: "
        "the file was changed after the bundle was made. Fetch it again from the registry."
    )
