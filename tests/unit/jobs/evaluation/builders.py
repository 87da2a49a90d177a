"""Small, real ingredients for the tests of evaluation: scores from a random draw, histories from lists of losses."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from graftwork_jobs.evaluation.class_reporting import ClassReporting
from graftwork_jobs.evaluation.findings import Finding
from graftwork_jobs.evaluation.gates import GateResult
from graftwork_jobs.evaluation.history import EpochRecord
from graftwork_jobs.evaluation.metrics import ClassificationMetrics, classification_metrics
from graftwork_jobs.evaluation.report_content import Mistake, PhaseSummary, ReportContent, ServeStep, TestReport
from graftwork_jobs.features.usage import FeatureUsage

USAGE = FeatureUsage(
    cut="head_pool",
    views=4,
    entries=5,
    hits=2,
    seconds=7.5,
    size_bytes=12_500_000,
    engine="openvino",
    engine_reason="1.5 times as fast",
)
"""What became of the feature store in the head phase."""


def draw_scores(
    examples: int, classes: int, *, strength: float = 2.0, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Scores of a classifier that knows something: softmax of noise plus `strength` on the true class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, examples).astype(np.int32)
    logits = random.normal(size=(examples, classes))
    logits[np.arange(examples), labels] += strength
    scores = np.exp(logits)
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32), labels


def metrics_with(
    right: dict[str, int], wrong: dict[str, int], *, confidence: float | None = None
) -> ClassificationMetrics:
    """Metrics of a test set with that many right and wrong predictions a class; wrong ones fall on the next class.

    Args:
        right: rightly predicted examples by class; names all classes.
        wrong: wrongly predicted examples by class.
        confidence: score of each prediction; by default the accuracy, a perfectly calibrated model.
    """
    names = tuple(right)
    truth, predicted = [], []
    for index, name in enumerate(names):
        truth += [index] * (right[name] + wrong.get(name, 0))
        predicted += [index] * right[name] + [(index + 1) % len(names)] * wrong.get(name, 0)
    if confidence is None:
        confidence = max(sum(right.values()) / len(truth), 1 / len(names) + 0.01)
    scores = np.full((len(truth), len(names)), (1 - confidence) / (len(names) - 1), np.float32)
    scores[np.arange(len(truth)), predicted] = confidence
    return classification_metrics(scores, np.asarray(truth, np.int32), names)


def epochs(
    phase: str,
    loss: list[float],
    val_loss: list[float],
    accuracy: list[float],
    val_accuracy: list[float],
    *,
    learning_rate: float = 1e-3,
) -> tuple[EpochRecord, ...]:
    """The epochs of one phase from its four curves."""
    curves = zip(loss, val_loss, accuracy, val_accuracy, strict=True)
    return tuple(
        EpochRecord(
            phase=phase,
            epoch=epoch,
            loss=values[0],
            val_loss=values[1],
            score=values[2],
            val_score=values[3],
            learning_rate=learning_rate,
            seconds=2.0,
            examples_per_s=100.0,
        )
        for epoch, values in enumerate(curves, 1)
    )


def picture(width: int = 40, height: int = 20, *, orientation: int | None = None) -> bytes:
    """A JPEG with a red left and a blue right half, with an EXIF orientation if given."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 2] = 255
    image, stream = Image.fromarray(pixels), io.BytesIO()
    exif = Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    image.save(stream, format="JPEG", quality=95, subsampling=0, exif=exif)
    return stream.getvalue()


def content_with(classes: int = 4, *, labels: tuple[str, ...] | None = None) -> ReportContent:
    """A whole report's content from drawn scores: two test sets, two phases, gates and one mistake."""
    names = labels or tuple(f"class{index}" for index in range(classes))
    tests = tuple(
        TestReport(
            name=name,
            metrics=classification_metrics(*draw_scores(400, len(names), strength=strength, seed=seed), names),
            baseline={"accuracy": 0.25, "loss": 1.5},
        )
        for name, strength, seed in (("test", 3.0, 1), ("elsewhere", 1.0, 2))
    )
    history = (
        *epochs("head", [1.2, 0.8], [1.1, 0.9], [0.5, 0.7], [0.55, 0.65]),
        *epochs("tune", [0.6, 0.5], [0.7, 0.65], [0.8, 0.85], [0.75, 0.78]),
    )
    phases = tuple(
        PhaseSummary(
            name=name,
            unfreeze="none",
            learning_rate=1e-3,
            epochs=2,
            kept_epoch=2,
            trainable_parameters=12_345,
            total_parameters=4_000_000,
            features=usage,
            preflight_s=1.25,
        )
        for name, usage in (("head", USAGE), ("tune", None))
    )
    mistake = Mistake(
        picture=picture(),
        label=names[0],
        predicted=names[1],
        score=0.97,
        true_score=0.01,
        source="data/a.jpg",
        test="test",
    )
    return ReportContent(
        job="flowers",
        task="image-classification",
        reporting=ClassReporting(),
        run_id="run-1",
        created_at="2026-01-02T03:04:05Z",
        spec_yaml="kind: FineTuneJob\n",
        phases=phases,
        history=history,
        findings=(
            Finding(code="healthy", severity="good", title="A healthy run", evidence="All fits."),
            Finding(code="overconfident", severity="note", title="Too sure", evidence="0.9.", advice=("less",)),
        ),
        tests=tests,
        gates=(GateResult(metric="accuracy", value=0.9, bound=0.8, passed=True, sentence="accuracy meets it."),),
        mistakes=(mistake,),
        facts={"backbone": "ResNet50"},
        timings={"training": 61.0},
        environment={"keras": "3"},
        lineage={"data": "abc"},
        serve=(ServeStep(text="Ask it", command="graft predict flowers a.jpg"),),
        warnings=("one picture is unreadable",),
    )
