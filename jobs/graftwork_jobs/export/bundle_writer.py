"""Writes a bundle: the model in two forms, golden examples, report, manifest; verified before it gets its name."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.bundle.directory import (
    Bundle,
    compare_scores,
    open_bundle,
    replay_golden,
    seal_bundle,
)
from graftwork.bundle.files import size_below, staged_directory
from graftwork.bundle.manifest import (
    GOLDEN_DIR,
    KERAS_MODEL_FILE,
    OPENVINO_MODEL_FILE,
    REPORT_DIR,
    TOKENIZER_FILE,
    BackboneRecord,
    BundleManifest,
    GoldenExample,
    ImageSignature,
    Lineage,
    TextSignature,
)
from graftwork.bundle.trained_on import write_trained_on
from graftwork.preprocess.image import ImageSpec
from graftwork.preprocess.inputs import InputSpec, read_batch
from graftwork.preprocess.text import TextSpec
from graftwork.settings import child_environment
from graftwork.spec.tasks import Task
from graftwork_jobs.export.engines import KerasCheck, export_openvino, keras_libraries, openvino_engine
from graftwork_jobs.export.features_reference import features_reference
from graftwork_jobs.export.golden import GoldenCandidate, GoldenPick, pick_golden

if TYPE_CHECKING:
    import keras

    from graftwork.progress import Reporter
    from graftwork_jobs.targets.base import Target

_BYTES_PER_PARAMETER = 4
# Both forms of the model hold all parameters; graph, golden examples and manifest come on top.
_MODEL_FORMS = 2
_OVERHEAD_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class BundleRequest:
    """What a bundle is made of.

    Attributes:
        model: inference model: RGB 0..255 float32, shape (batch, height, width, 3), or token ids int32, shape
            (batch, tokens), to predictions, shape (batch, outputs), float32; layers of Keras and KerasHub only.
        inputs: what examples are brought to.
        target: what the model predicts.
        task: what the model does.
        backbone: which pre-trained model it grew on.
        candidates: examples to pick golden ones from, best all of the test set.
        metrics: test metrics.
        extra_metrics: metrics of the further test sets.
        intervals: 95 % confidence intervals of the test metrics.
        lineage: where it came from.
        report_dir: report to copy, if there is one.
        destination: directory to make; takes the place of an earlier bundle there.
        trained_on: digests of the examples of training and validation data.
        locate: gives the local file of a candidate's URI.
        tolerance: largest absolute difference of a score that counts as the same.
    """

    model: keras.Model
    inputs: InputSpec
    target: Target
    task: Task
    backbone: BackboneRecord
    candidates: Sequence[GoldenCandidate]
    metrics: Mapping[str, float]
    lineage: Lineage
    destination: Path
    extra_metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    report_dir: Path | None = None
    trained_on: Sequence[str] = ()
    locate: Callable[[str], Path] = Path
    tolerance: float = 1e-3


def write_bundle(request: BundleRequest, reporter: Reporter) -> Bundle:
    """Write and verify a bundle; `request.destination` holds all of it afterwards, or what it held before.

    Raises:
        BundleError: the exported model answers a golden example differently from the trained one, or the model file
            needs more than stock Keras.
        DiskFullError: there is not enough free space.
        SpecError: no golden example can be read.
    """
    picks = pick_golden(request.candidates, request.inputs, request.locate)
    batch = _as_the_model_takes(read_batch([pick.content for pick in picks], request.inputs), request.model)
    scores = _trained_scores(request.model, batch)
    with (
        reporter.task("writing the bundle", total=4, unit="steps") as task,
        staged_directory(
            request.destination,
            needed_bytes=_needed_bytes(request, picks),
            replace=True,
        ) as staged,
        tempfile.TemporaryDirectory(prefix="graftwork-export-") as scratch,
    ):
        _write_keras(request.model, staged)
        batch_file = Path(scratch) / "batch.npy"
        np.save(batch_file, batch)
        check = KerasCheck.start(staged / KERAS_MODEL_FILE, batch_file, child_environment(_QUIET_ON_CPU))
        try:
            task.advance()
            export_openvino(request.model, staged / OPENVINO_MODEL_FILE)
            task.advance()
            _write_files(request, picks, staged)
            reference = features_reference(request.candidates, request.inputs, request.locate, staged)
            manifest = _manifest(request, picks, scores).model_copy(update={"drift": reference})
            bundle = seal_bundle(staged, manifest)
            replay_golden(bundle, openvino_engine(staged / OPENVINO_MODEL_FILE))
            task.advance()
            compare_scores(bundle, check.scores())
            task.advance()
        finally:
            check.cancel()
    return open_bundle(request.destination)


# The check must not take GPU memory from the training process, and its log is shown only if it fails.
_QUIET_ON_CPU = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_BACKEND": "tensorflow",
}


def _as_the_model_takes(batch: NDArray[Any], model: keras.Model) -> NDArray[Any]:
    return batch.astype(model.inputs[0].dtype)


def _trained_scores(model: keras.Model, batch: NDArray[Any]) -> NDArray[np.float32]:
    import keras

    return np.asarray(
        keras.ops.convert_to_numpy(model(batch, training=False)),
        dtype=np.float32,
    )


def _needed_bytes(request: BundleRequest, picks: Sequence[GoldenPick]) -> int:
    model = request.model.count_params() * _BYTES_PER_PARAMETER * _MODEL_FORMS
    report = 0 if request.report_dir is None else size_below(request.report_dir)
    return int(model + report + sum(len(pick.content) for pick in picks) + _OVERHEAD_BYTES)


def _write_keras(model: keras.Model, directory: Path) -> None:
    model.save(directory / KERAS_MODEL_FILE)


def _write_files(request: BundleRequest, picks: Sequence[GoldenPick], directory: Path) -> None:
    golden = directory / GOLDEN_DIR
    golden.mkdir()
    for pick in picks:
        (golden / pick.name).write_bytes(pick.content)
    if isinstance(request.inputs, TextSpec):
        (directory / TOKENIZER_FILE).write_text(request.inputs.tokenizer, encoding="utf-8")
    write_trained_on(directory, request.trained_on)
    if request.report_dir is not None:
        shutil.copytree(request.report_dir, directory / REPORT_DIR)


def _manifest(request: BundleRequest, picks: Sequence[GoldenPick], scores: NDArray[np.float32]) -> BundleManifest:
    return BundleManifest(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        task=request.task,
        input=_signature(request.inputs),
        output=request.target.signature(),
        keras_libraries=keras_libraries(request.model),
        backbone=request.backbone,
        golden=[
            GoldenExample(
                file=f"{GOLDEN_DIR}/{pick.name}",
                label=pick.label,
                scores=[float(score) for score in row],
            )
            for pick, row in zip(picks, scores, strict=True)
        ],
        tolerance=request.tolerance,
        metrics=_defined(request.metrics),
        extra_metrics={test: _defined(metrics) for test, metrics in request.extra_metrics.items()},
        intervals={name: ends for name, ends in request.intervals.items() if all(math.isfinite(end) for end in ends)},
        calibration=request.target.calibration,
        lineage=request.lineage,
    )


def _signature(inputs: InputSpec) -> ImageSignature | TextSignature:
    match inputs:
        case ImageSpec():
            return ImageSignature(height=inputs.height, width=inputs.width, resize=inputs.resize)
        case TextSpec():
            return TextSignature(tokenizer=TOKENIZER_FILE, pad_id=inputs.pad_id, max_tokens=inputs.max_tokens)


def _defined(metrics: Mapping[str, float]) -> dict[str, float]:
    """Leave out metrics without a value (such as AUC when a class has no test pictures): JSON has no NaN."""
    return {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
