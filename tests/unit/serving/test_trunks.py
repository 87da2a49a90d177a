"""Networks cut into trunk and head, against OpenVINO's own answers for the whole networks."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwork.preprocess.image import ImageSpec
from graftwork_serving.engine import EngineOptions
from graftwork_serving.inputs import PictureReader
from graftwork_serving.network import read_network, split
from graftwork_serving.trunks import SharedParts, TrunkedEngine
from tests.unit.serving.networks import SIDE, network, save, scores

OPTIONS = EngineOptions(threads=1, max_batch_size=2)
READER = PictureReader(spec=ImageSpec(height=SIDE, width=SIDE), max_pixels=1000)
PICTURES = list(np.random.default_rng(7).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8))


def engine_of(folder: Path, shared: SharedParts, **options: Any) -> TrunkedEngine:
    name = "-".join(map(str, options.values())) or "plain"
    made, weight_bytes = shared.engine(save(network(**options), folder / f"{name}.xml"), READER, OPTIONS)
    assert isinstance(made, TrunkedEngine)
    assert weight_bytes == made.head.weight_bytes
    return made


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "units"])
@pytest.mark.parametrize("hidden", [None, 5])
def test_trunk_and_head_say_what_the_whole_network_says(tmp_path: Path, activation: str, hidden: int | None) -> None:
    """For heads of one and two layers and every kind of output."""
    model = network(activation=activation, hidden=hidden)
    expected = scores(model, PICTURES)
    made, _ = SharedParts().engine(save(model, tmp_path / "model.xml"), READER, OPTIONS)
    assert isinstance(made, TrunkedEngine)
    np.testing.assert_allclose(made.predict(np.stack(PICTURES)), expected, rtol=1e-4, atol=1e-5)


def test_models_on_one_trunk_load_it_once(tmp_path: Path) -> None:
    """Whatever the operations are called, and however many layers and labels the heads have."""
    shared = SharedParts()
    engines = [
        engine_of(tmp_path, shared, head_seed=1),
        engine_of(tmp_path, shared, head_seed=2, names="other", labels=7),
        engine_of(tmp_path, shared, head_seed=3, hidden=5),
    ]
    assert len({id(engine.trunk) for engine in engines}) == 1
    other = engine_of(tmp_path, shared, trunk_seed=1)
    assert other.trunk is not engines[0].trunk
    assert len(shared.trunks) == 2


def test_the_size_of_a_batch_is_measured_once_for_an_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of a model is loaded while requests are answered; timings would be wrong, and take their time."""
    timed: list[int] = []

    def seconds(_run: object, _trial: object, size: int) -> float:
        timed.append(size)
        return 1.0 / size

    monkeypatch.setattr("graftwork_serving.engine.seconds_an_example", seconds)
    shared = SharedParts()
    first = engine_of(tmp_path, shared, trunk_seed=1)
    assert timed
    timed.clear()
    other = engine_of(tmp_path, shared, trunk_seed=2)
    assert other.trunk is not first.trunk
    assert (timed, other.batch_size) == ([], first.batch_size)
    rows = np.stack(PICTURES)
    np.testing.assert_allclose(other.predict(rows), scores(network(trunk_seed=2), PICTURES), rtol=1e-4, atol=1e-5)
    engine_of(tmp_path, shared, trunk_seed=3, activation="sigmoid", hidden=5)
    assert not timed


def test_a_mixed_batch_is_answered_by_each_examples_own_head(tmp_path: Path) -> None:
    """One pass of the trunk; every row is what its own whole network says of that picture."""
    shared = SharedParts()
    kinds: list[dict[str, Any]] = [{"head_seed": 1}, {"head_seed": 2, "labels": 4}, {"head_seed": 3, "hidden": 5}]
    engines = [engine_of(tmp_path, shared, **kind) for kind in kinds]
    order = [2, 0, 1, 0, 2]
    rows = engines[0].trunk.predict(np.stack(PICTURES), [engines[index].head for index in order], alone=False)
    for row, index, picture in zip(rows, order, PICTURES, strict=True):
        (expected,) = scores(network(**kinds[index]), [picture])
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-5)


def test_a_trunk_goes_with_its_last_head(tmp_path: Path) -> None:
    """What nobody uses takes no memory."""
    shared = SharedParts()
    engines = [engine_of(tmp_path, shared, head_seed=1), engine_of(tmp_path, shared, head_seed=2)]
    del engines[0]
    gc.collect()
    assert len(shared.trunks) == 1
    engines.clear()
    gc.collect()
    assert shared.trunks == []


def test_a_network_that_cannot_be_cut_is_loaded_whole(tmp_path: Path) -> None:
    """An operation that no head knows at the end, or more weights in the head than below it."""
    cases: list[dict[str, Any]] = [{"activation": "other"}, {"labels": 500}]
    for options in cases:
        model = network(**options)
        assert split(read_network(save(model, tmp_path / "whole.xml"))) is None
        made, weight_bytes = SharedParts().engine(tmp_path / "whole.xml", READER, OPTIONS)
        assert not isinstance(made, TrunkedEngine)
        assert weight_bytes == (tmp_path / "whole.bin").stat().st_size
        np.testing.assert_allclose(made.predict(np.stack(PICTURES)), scores(model, PICTURES), rtol=1e-4, atol=1e-5)


def test_readers_are_shared_by_what_they_read() -> None:
    """A tokenizer is kept once for all models that have it."""
    shared = SharedParts()
    first = shared.reader(READER.spec, max_image_pixels=1000)
    assert shared.reader(ImageSpec(height=SIDE, width=SIDE), max_image_pixels=1000) is first
    assert shared.reader(READER.spec, max_image_pixels=999) is not first
