"""Writing bundles from real Keras models."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from graftwork.bundle.directory import BundleError, open_bundle, replay_golden
from graftwork.bundle.files import DiskFullError, files_below
from graftwork.bundle.manifest import BackboneRecord, Lineage
from graftwork.preprocess.image import ImageSpec, decode_image
from graftwork.progress import SilentReporter
from graftwork_jobs.export import bundle_writer
from graftwork_jobs.export.bundle_writer import BundleRequest, write_bundle
from graftwork_jobs.export.engines import KerasCheck, export_openvino, openvino_engine
from graftwork_jobs.export.golden import GoldenCandidate
from graftwork_jobs.targets.classes import ClassTarget
from tests.support.bundles import SMALL_LABELS, SMALL_SIDE, small_model
from tests.support.small_bundles import picture

IMAGE = ImageSpec(height=SMALL_SIDE, width=SMALL_SIDE)


@keras.saving.register_keras_serializable(package="own")
class OwnLayer(keras.layers.Layer):
    """A layer that stock Keras does not know."""

    def call(self, inputs: Any) -> Any:
        """Give back what comes."""
        return inputs * 1.0


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return small_model()


@pytest.fixture
def request_for(tmp_path: Path) -> Callable[[keras.Model], BundleRequest]:
    made = []
    for index in range(12):
        file = tmp_path / "pictures" / f"{index}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(picture(index))
        label = SMALL_LABELS[index % len(SMALL_LABELS)]
        made.append(GoldenCandidate(input=str(file), label=label, group=label))
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.html").write_text("<html></html>")

    def build(model: keras.Model) -> BundleRequest:
        return BundleRequest(
            model=model,
            inputs=IMAGE,
            target=ClassTarget(SMALL_LABELS),
            task="image-classification",
            backbone=BackboneRecord(source="small", weights="none", digest="0" * 64),
            candidates=made,
            metrics={"accuracy": 0.75, "auc_macro": float("nan")},
            extra_metrics={"other": {"accuracy": 0.5}},
            lineage=Lineage(job="j", run_id="r", spec={}, data_digest="d", libraries={}),
            report_dir=tmp_path / "report",
            destination=tmp_path / "made" / "bundle",
        )

    return build


@pytest.fixture
def skip_keras_check(monkeypatch: pytest.MonkeyPatch, model: keras.Model) -> None:
    """Leave out the second process, which imports TensorFlow: it has a test of its own."""

    class InThisProcess:
        def __init__(self, images_file: Path) -> None:
            self._images = np.load(images_file).astype(np.float32)

        @classmethod
        def start(cls, _file: Path, images_file: Path, _environment: dict[str, str]) -> InThisProcess:
            return cls(images_file)

        def scores(self) -> Any:
            return np.asarray(model(self._images, training=False))

        def cancel(self) -> None:
            pass

    monkeypatch.setattr(bundle_writer, "KerasCheck", InThisProcess)


def test_bundle_is_whole_and_loads_without_graftwork(
    request_for: Callable[[keras.Model], BundleRequest], model: keras.Model
) -> None:
    """All files are there, verified through both engines; the metrics without a value are left out."""
    request = request_for(model)
    bundle = write_bundle(request, SilentReporter())
    assert open_bundle(request.destination) == bundle
    assert {"model.keras", "openvino/model.xml", "openvino/model.bin", "report/report.html"} < set(
        bundle.manifest.files
    )
    assert len(bundle.manifest.golden) == 8
    assert bundle.manifest.metrics == {"accuracy": 0.75}
    assert files_below(request.destination.parent) == sorted(
        f"bundle/{name}" for name in (*bundle.manifest.files, "manifest.json")
    )


def test_golden_scores_are_those_of_the_trained_model(
    request_for: Callable[[keras.Model], BundleRequest], model: keras.Model, skip_keras_check: None
) -> None:
    """The manifest holds what the Keras model itself says to the preprocessed files."""
    bundle = write_bundle(request_for(model), SilentReporter())
    for example in bundle.manifest.golden:
        pixels = decode_image((bundle.path / example.file).read_bytes(), IMAGE)
        expected = np.asarray(model(pixels[None].astype(np.float32), training=False))[0]
        np.testing.assert_allclose(example.scores, expected, atol=1e-6)


def test_exported_model_agrees_on_other_pictures_and_batch_sizes(tmp_path: Path, model: keras.Model) -> None:
    """OpenVINO gives what Keras gives, for any number of rows."""
    export_openvino(model, tmp_path / "o" / "model.xml")
    predict = openvino_engine(tmp_path / "o" / "model.xml")
    images = np.random.default_rng(0).integers(0, 256, (7, SMALL_SIDE, SMALL_SIDE, 3), dtype=np.uint8)
    expected = np.asarray(model(images.astype(np.float32), training=False))
    for rows in (1, 7, 3):
        np.testing.assert_allclose(predict(images[:rows]), expected[:rows], atol=1e-5)


def test_wrong_export_leaves_nothing(
    request_for: Callable[[keras.Model], BundleRequest],
    model: keras.Model,
    skip_keras_check: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An engine export with other weights is refused, naming the example and the difference."""
    other = small_model(seed=1)
    monkeypatch.setattr(bundle_writer, "export_openvino", lambda _model, file: export_openvino(other, file))
    request = request_for(model)
    with pytest.raises(BundleError, match=r"golden example golden/\d\.png differs by 0\.\d+"):
        write_bundle(request, SilentReporter())
    assert list(request.destination.parent.iterdir()) == []


def test_failed_writing_keeps_the_earlier_bundle(
    request_for: Callable[[keras.Model], BundleRequest],
    model: keras.Model,
    skip_keras_check: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run continued over an existing bundle replaces it only with a good one."""
    request = request_for(model)
    first = write_bundle(request, SilentReporter())
    again = write_bundle(replace(request, metrics={"accuracy": 0.9}), SilentReporter())
    assert again.digest != first.digest
    monkeypatch.setattr(bundle_writer, "export_openvino", lambda _model, _file: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_bundle(request, SilentReporter())
    assert open_bundle(request.destination) == again


def test_no_space_is_found_before_writing(
    request_for: Callable[[keras.Model], BundleRequest], model: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says what is needed and what is free."""
    free = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: free)
    request = request_for(model)
    with pytest.raises(DiskFullError, match="received 1,000 bytes of free space, expected about"):
        write_bundle(request, SilentReporter())
    assert list(request.destination.parent.iterdir()) == []


def test_disk_that_fills_up_leaves_nothing(
    request_for: Callable[[keras.Model], BundleRequest],
    model: keras.Model,
    skip_keras_check: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No half-written bundle stays when the disk fills up in the middle."""

    def full(_model: keras.Model, file: Path) -> None:
        file.parent.mkdir()
        file.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundle_writer, "export_openvino", full)
    request = request_for(model)
    with pytest.raises(DiskFullError, match="Free some space"):
        write_bundle(request, SilentReporter())
    assert list(request.destination.parent.iterdir()) == []


def test_changed_bundle_is_refused_and_replays_otherwise(
    request_for: Callable[[keras.Model], BundleRequest], model: keras.Model, skip_keras_check: None
) -> None:
    """A written bundle replays; with one byte of any file changed it does not open."""
    bundle = write_bundle(request_for(model), SilentReporter())
    assert replay_golden(bundle, openvino_engine(bundle.path / "openvino" / "model.xml")) < 1e-4
    for name in files_below(bundle.path):
        file = bundle.path / name
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        with pytest.raises(BundleError, match=file.name):
            open_bundle(bundle.path)
        content[len(content) // 2] ^= 1
        file.write_bytes(content)


def test_model_with_own_layers_is_refused(tmp_path: Path) -> None:
    """A model file that only Graftwork's own code could load is no use to others."""
    image = keras.Input((4, 4, 3), name="image")
    model = keras.Model(image, keras.layers.Softmax()(keras.layers.Flatten()(OwnLayer()(image))))
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", np.zeros((1, 4, 4, 3), np.uint8))
    check = KerasCheck.start(tmp_path / "model.keras", tmp_path / "images.npy", {"PATH": "/usr/bin:/bin"})
    try:
        with pytest.raises(BundleError, match="layers of Keras and KerasHub only"):
            check.scores()
    finally:
        check.cancel()
