"""A registered model run on a new one's test set: a real bundle in a real registry."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from graftwork.bundle.directory import Bundle
from graftwork.preprocess.image import ImageSpec
from graftwork.progress import SilentReporter
from graftwork.registry import Registry
from graftwork.settings import Settings
from graftwork_jobs.champion import Newcomer, bundle_predictions, compare_with_registered
from graftwork_jobs.evaluation.comparison import Comparison, NotCompared
from graftwork_jobs.targets.classes import ClassTarget
from tests.support.bundles import SMALL_LABELS, SMALL_SIDE, keras_scores, picture_bytes, small_model, write_bundle

_PICTURES = 40


class _Warnings(SilentReporter):
    """Keeps what a person should not miss."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def warn(self, message: str) -> None:
        """Keep it."""
        self.heard.append(message)


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, list[Path], NDArray[np.float32]]:
    """A bundle, pictures, and what the bundle's Keras model says of them."""
    model, folder = small_model(seed=1), tmp_path_factory.mktemp("champion")
    files = []
    for number in range(_PICTURES):
        files.append(folder / f"{number}.png")
        files[-1].write_bytes(picture_bytes(seed=100 + number))
    scores = keras_scores(model, [file.read_bytes() for file in files], ImageSpec(height=SMALL_SIDE, width=SMALL_SIDE))
    return write_bundle(model, folder / "bundle"), files, scores


@pytest.fixture(scope="module")
def registry(
    champion: tuple[Bundle, list[Path], NDArray[np.float32]], tmp_path_factory: pytest.TempPathFactory
) -> Registry:
    """A registry whose `tiny@champion` is the bundle."""
    registry = Registry(Settings.at(tmp_path_factory.mktemp("home")), SilentReporter())
    registry.register(champion[0], "tiny", "champion")
    return registry


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _newcomer(files: Sequence[Path], predictions: NDArray[np.float32], labels: Any, **changes: Any) -> Newcomer:
    given: dict[str, Any] = {
        "task": "image-classification",
        "run_id": "new",
        "target": ClassTarget(SMALL_LABELS),
        "predictions": predictions,
        "targets": labels,
        "inputs": [str(file) for file in files],
        "digests": [_digest(file) for file in files],
        "locate": Path,
    }
    return Newcomer(**{**given, **changes})


def test_a_bundle_answers_as_its_model(champion: tuple[Bundle, list[Path], NDArray[np.float32]]) -> None:
    """Read and brought into shape by the bundle's own manifest, more examples than fit into a batch."""
    bundle, files, scores = champion
    said = bundle_predictions(bundle, [str(file) for file in files], Path, SilentReporter(), name="tiny")
    np.testing.assert_allclose(said, scores, atol=1e-4)


def test_the_champion_is_judged_on_the_new_test_set(
    champion: tuple[Bundle, list[Path], NDArray[np.float32]], registry: Registry
) -> None:
    """A new model that is always right gains what the champion gets wrong; unknown aliases are left out."""
    _, files, scores = champion
    labels = np.random.default_rng(0).integers(0, 3, _PICTURES).astype(np.int32)
    perfect = np.eye(3, dtype=np.float32)[labels]
    newcomer = _newcomer(files, perfect, labels)
    found = compare_with_registered(newcomer, "tiny", ["champion", "nobody"], registry, SilentReporter())
    assert list(found) == ["champion"]
    compared = found["champion"]
    assert isinstance(compared, Comparison)
    assert (compared.version, compared.examples) == (1, _PICTURES)
    accuracy = compared.of("accuracy")
    assert accuracy is not None
    assert accuracy.ours == 1.0
    assert accuracy.theirs == pytest.approx((scores.argmax(axis=1) == labels).mean())


@pytest.mark.parametrize("seen", [0, 7, _PICTURES - 5])
def test_what_the_champion_has_learnt_by_heart_does_not_count(
    seen: int, champion: tuple[Bundle, list[Path], NDArray[np.float32]], tmp_path: Path
) -> None:
    """It is compared on the test examples it was not trained on, and not at all where they are too few."""
    _, files, scores = champion
    known = [_digest(file) for file in files[:seen]]
    registry = Registry(Settings.at(tmp_path / "home"), SilentReporter())
    registry.register(write_bundle(small_model(seed=1), tmp_path / "bundle", trained_on=known), "tiny", "champion")
    labels = np.random.default_rng(0).integers(0, 3, _PICTURES).astype(np.int32)
    labels[:seen] = scores[:seen].argmax(axis=1)
    newcomer = _newcomer(files, np.eye(3, dtype=np.float32)[labels], labels)
    found = compare_with_registered(newcomer, "tiny", ["champion"], registry, SilentReporter())["champion"]
    if seen == _PICTURES - 5:
        assert isinstance(found, NotCompared)
        assert f"trained on {seen} of the {_PICTURES} test examples, and 5 others" in found.reason
        return
    assert isinstance(found, Comparison)
    assert found.examples == _PICTURES - seen
    accuracy = found.of("accuracy")
    assert accuracy is not None
    assert accuracy.theirs == pytest.approx((scores.argmax(axis=1) == labels)[seen:].mean())
    assert [note for note in found.notes if "left out" in note] == (
        [f"{seen} of the {_PICTURES} test examples are left out, as the other model was trained on them."]
        if seen
        else []
    )


@pytest.mark.parametrize(
    ("changes", "reason", "matters"),
    [
        ({"run_id": "test"}, "this very run", False),
        ({"task": "image-regression"}, "it predicts classes", True),
        ({"task": "text-classification"}, "it takes a image", True),
        ({"target": ClassTarget(("x", "y", "z"))}, "knows none of the classes", True),
    ],
)
def test_what_cannot_be_compared_has_a_reason(
    changes: dict[str, Any],
    reason: str,
    matters: bool,
    champion: tuple[Bundle, list[Path], NDArray[np.float32]],
    registry: Registry,
) -> None:
    """In words, and without an error."""
    _, files, scores = champion
    newcomer = _newcomer(files, scores, scores.argmax(axis=1).astype(np.int32), **changes)
    found = compare_with_registered(newcomer, "tiny", ["champion"], registry, SilentReporter())["champion"]
    assert isinstance(found, NotCompared)
    assert reason in found.reason
    assert found.matters is matters


def test_a_damaged_champion_costs_nothing_but_the_comparison(
    champion: tuple[Bundle, list[Path], NDArray[np.float32]], tmp_path: Path
) -> None:
    """A file that was changed in the registry is a warning and a reason."""
    bundle, files, scores = champion
    registry = Registry(Settings.at(tmp_path), SilentReporter())
    registry.register(bundle, "tiny", "champion")
    copy = registry.resolve("tiny@champion").bundle.path
    (copy / "openvino" / "model.bin").write_bytes(b"other")
    reporter = _Warnings()
    newcomer = _newcomer(files, scores, scores.argmax(axis=1).astype(np.int32))
    found = compare_with_registered(newcomer, "tiny", ["champion"], registry, reporter)["champion"]
    assert isinstance(found, NotCompared)
    assert "it cannot be run: " in found.reason
    assert "the file was changed" in reporter.heard[0]
    shutil.rmtree(copy)
    found = compare_with_registered(newcomer, "tiny", ["champion"], registry, reporter)["champion"]
    assert isinstance(found, NotCompared)
