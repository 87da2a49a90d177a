"""Engines that compute in less than float32: on which CPUs, with which golden examples, and what stays exact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from graftwork.bundle.answers import answers_for
from graftwork.bundle.directory import Bundle, BundleError, seal_bundle
from graftwork.bundle.manifest import NumbersSignature, OutputSignature, ScoresSignature
from graftwork.errors import SpecError
from graftwork.openvino_core import openvino_core
from graftwork.preprocess.image import ImageSpec, decode_image
from graftwork.settings import Settings
from graftwork.spec.precision import Precision
from graftwork_serving import precision as precision_module
from graftwork_serving.endpoint_config import ModelConfig, ReplicaConfig
from graftwork_serving.engine import EngineOptions
from graftwork_serving.foreground import check_place
from graftwork_serving.model_loader import ModelLoader
from graftwork_serving.precision import check_golden, check_precision
from graftwork_serving.served_model import ServedModel, load_model
from graftwork_serving.spec_file import load_endpoint
from graftwork_serving.trunks import SharedParts, TrunkedEngine
from graftwork_serving.web.open_inference import model_metadata
from tests.support.small_bundles import picture, small_manifest
from tests.unit.serving.networks import SIDE, network, save, scores

needs_bfloat16 = pytest.mark.skipif(
    "BF16" not in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"), reason="this CPU has no bfloat16"
)


LABELS = ["a", "b", "c"]


def network_bundle(folder: Path, *, head_seed: int = 0, numbers: bool = False) -> Bundle:
    """A bundle of a small network, whose golden examples are what it says in float32."""
    model = network(head_seed=head_seed, activation="units" if numbers else "softmax")
    golden = {f"golden/{index}.png": picture(index) for index in range(3)}
    (folder / "golden").mkdir(parents=True)
    (folder / "openvino").mkdir()
    for name, content in golden.items():
        (folder / name).write_bytes(content)
    save(model, folder / "openvino" / "model.xml")
    pictures = [decode_image(content, ImageSpec(height=SIDE, width=SIDE)) for content in golden.values()]
    manifest = small_manifest(golden)
    said = scores(model, pictures)
    examples = [
        example.model_copy(update={"scores": row.tolist()}) for example, row in zip(manifest.golden, said, strict=True)
    ]
    image = manifest.input.model_copy(update={"height": SIDE, "width": SIDE})
    output = (
        NumbersSignature(labels=LABELS, deviations=[float(np.abs(said).max())] * 3)
        if numbers
        else ScoresSignature(labels=LABELS)
    )
    return seal_bundle(folder, manifest.model_copy(update={"input": image, "output": output, "golden": examples}))


def load(bundle: Bundle, precision: Precision, shared: SharedParts | None = None) -> ServedModel:
    options = EngineOptions(threads=1, max_batch_size=1, precision=precision)
    return load_model(model_config(bundle), options, max_image_pixels=1000, shared=shared)


def model_config(bundle: Bundle) -> ModelConfig:
    path = str(bundle.path)
    return ModelConfig(name="m", version="1", path=path, digest=bundle.digest, reference="m", source=path)


def golden_bundle(output: OutputSignature, *golden: Sequence[float]) -> Bundle:
    """A bundle with these golden scores and nothing on disk."""
    manifest = small_manifest({f"golden/{index}.png": picture(0) for index in range(len(golden))})
    examples = [
        example.model_copy(update={"scores": list(row)}) for example, row in zip(manifest.golden, golden, strict=True)
    ]
    return Bundle(path=Path("/b"), manifest=manifest.model_copy(update={"output": output, "golden": examples}))


def check(bundle: Bundle, said: Sequence[Sequence[float]], precision: Precision = "bfloat16") -> float:
    return check_golden(bundle, answers_for(bundle.manifest.output), np.asarray(said, np.float32), precision)


def test_a_cpu_without_it_refuses_it_and_says_what_it_has() -> None:
    """With the field, what OpenVINO lists, and the way out; float32 needs nothing."""
    check_precision("float32", capabilities=[])
    check_precision("bfloat16", capabilities=["FP32", "BF16"])
    with pytest.raises(SpecError, match="float32") as caught:
        check_precision("bfloat16", file=Path("e.yaml"), capabilities=["INT8", "FP32"])
    assert "e.yaml: spec.precision: received 'bfloat16', on a CPU that has FP32, INT8" in str(caught.value)


def test_a_gpu_needs_tensor_cores_that_have_it() -> None:
    """All GPUs of the machine, as a replica may get any; JAX on CPU computes in any precision."""
    check_precision("bfloat16", engine="jax", capabilities=[])
    check_precision("bfloat16", engine="jax", on_gpu=True, capabilities=["9.0", "8.0"])
    with pytest.raises(SpecError, match=r"'bfloat16', on a GPU of compute capability 7\.5.*one of 8 or more"):
        check_precision("bfloat16", engine="jax", on_gpu=True, capabilities=["9.0", "7.5", "10.0"])


def test_an_endpoint_is_refused_before_anything_starts(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the machine that serves has no bfloat16."""
    monkeypatch.setattr(precision_module, "_capabilities", lambda: ["FP32"])
    file = tmp_path / "endpoint.yaml"
    file.write_text(
        "apiVersion: graftwork.dev/v1alpha1\nkind: InferenceEndpoint\nmetadata: {name: e}\n"
        "spec: {models: [{model: m@champion}], precision: bfloat16, http: {port: 18931}}\n"
    )
    with pytest.raises(SpecError, match=r"endpoint\.yaml: spec\.precision"):
        check_place(load_endpoint(file), settings=settings)


def test_a_model_is_not_loaded_on_such_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than in float32 without a word."""
    monkeypatch.setattr(precision_module, "_capabilities", lambda: ["FP32"])
    with pytest.raises(SpecError, match=r"spec\.precision"):
        load(network_bundle(tmp_path), "bfloat16")


def test_golden_examples_may_differ_by_a_tenth_and_not_by_more() -> None:
    """In bfloat16; in float32 the manifest's tolerance stays."""
    bundle = golden_bundle(ScoresSignature(labels=["a", "b"]), [0.8, 0.2])
    assert check(bundle, [[0.72, 0.28]]) == pytest.approx(0.08, abs=1e-6)
    with pytest.raises(BundleError, match=r"differs by 0\.12.*at most 0\.1 .*use `precision: float32`"):
        check(bundle, [[0.68, 0.32]])
    with pytest.raises(BundleError, match=r"at most 0\.001"):
        check(bundle, [[0.72, 0.28]], "float32")
    with pytest.raises(BundleError, match="differs by"):
        check(bundle, [[float("nan"), 0.2]])


def test_a_golden_example_may_not_change_its_class() -> None:
    """However near the scores are."""
    bundle = golden_bundle(ScoresSignature(labels=["a", "b"]), [0.8, 0.2], [0.49, 0.51])
    with pytest.raises(BundleError, match=r"golden/1\.png is answered with 'a' in bfloat16, expected 'b'"):
        check(bundle, [[0.8, 0.2], [0.52, 0.48]])


def test_numbers_are_measured_in_standard_deviations() -> None:
    """There is no class to keep."""
    bundle = golden_bundle(NumbersSignature(labels=["weight"], deviations=[50.0]), [100.0])
    assert check(bundle, [[104.0]]) == pytest.approx(0.08, abs=1e-6)
    with pytest.raises(BundleError, match=r"differs by 0\.12"):
        check(bundle, [[106.0]])


@needs_bfloat16
def test_the_engine_computes_in_the_precision_asked_for(tmp_path: Path) -> None:
    """Its answers show bfloat16's rounding, and no more than that; those in float32 are the golden ones."""
    bundle = network_bundle(tmp_path, numbers=True)
    exact, rounded = load(bundle, "float32"), load(bundle, "bfloat16")
    assert exact.golden_difference < 1e-6
    assert 2**-12 < rounded.golden_difference < 2**-5
    assert (exact.precision, rounded.precision) == ("float32", "bfloat16")
    assert model_metadata(rounded, ["1"])["parameters"]["precision"] == "bfloat16"


@needs_bfloat16
def test_trunks_are_shared_within_a_precision_only(tmp_path: Path) -> None:
    """Heads on one trunk load it once; the same trunk in other numbers is another one."""
    shared = SharedParts()
    bundles = [network_bundle(tmp_path / str(seed), head_seed=seed) for seed in range(2)]
    models = [load(bundle, "bfloat16", shared) for bundle in bundles] + [load(bundles[0], "float32", shared)]
    trunks = [model.engine.trunk for model in models if isinstance(model.engine, TrunkedEngine)]
    assert trunks[0] is trunks[1]
    assert trunks[2] is not trunks[0]


@needs_bfloat16
def test_explanations_are_computed_in_float32(tmp_path: Path) -> None:
    """They are the same whatever the engine computes in."""
    bundle = network_bundle(tmp_path)
    pixels = np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    shares = []
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        model = load(bundle, precision)
        assert model.explainer is not None
        shares.append(model.explainer.explain(pixels, 1).shares)
    np.testing.assert_array_equal(shares[0], shares[1])


@needs_bfloat16
def test_a_changed_precision_is_followed_in_place(tmp_path: Path) -> None:
    """A replica loads its models anew beside those it has, and the engine asked for answers."""
    bundle, loader = network_bundle(tmp_path), ModelLoader(threads=1)
    config = ReplicaConfig(
        endpoint="e",
        models=[model_config(bundle)],
        max_batch_size=1,
        max_request_bytes=1000,
        max_image_pixels=1000,
        max_queued_requests=1,
    )
    (exact,) = loader.arms(config.models, config)
    (rounded,) = loader.arms(config.models, config.model_copy(update={"precision": "bfloat16"}))
    assert (exact.model.precision, rounded.model.precision) == ("float32", "bfloat16")
    assert rounded.model.engine is not exact.model.engine
    assert loader.arms(config.models, config)[0].model.engine is exact.model.engine
