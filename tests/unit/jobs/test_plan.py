from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

from graftwork.errors import SpecError
from graftwork.progress import SilentReporter
from graftwork.settings import Settings
from graftwork.spec.fine_tune_job import FineTuneJob
from graftwork_jobs import plan as plan_module
from graftwork_jobs.commands.plan import print_plan
from graftwork_jobs.plan import _PHASE_START_S, _RAY_AND_BUNDLE_S, _WORKERS_START_S, Plan, make_plan
from tests.unit.jobs.data.pictures import write_folder

_SIDE = 16
_SECONDS_PER_PICTURE = 0.01

MakePlan = Callable[..., Plan]


@pytest.fixture
def plan_of(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> MakePlan:
    """`make_plan` of a job on 20 + 10 pictures and three layers; keyword arguments replace sections of the spec.

    The machine is told to need 10 ms a picture and to have one core.
    """
    monkeypatch.setattr(plan_module, "_forward_seconds", lambda *_: _SECONDS_PER_PICTURE)
    monkeypatch.setattr(plan_module, "_cores", lambda: 1)
    write_folder(tmp_path / "pictures", {"cat": 20, "dog": 10})
    layers = [keras.layers.Conv2D(4, 3, strides=2, padding="same", name=f"conv{number}") for number in range(3)]
    keras.Sequential([keras.Input((_SIDE, _SIDE, 3)), *layers]).save(tmp_path / "small.keras")

    def run(**spec: Any) -> Plan:
        content = {
            "task": "image-classification",
            "backbone": {"path": "small.keras"},
            "data": {
                "train": {"uri": "pictures"},
                "validation": {"fraction": 0.2},
                "test": {"fraction": 0.2},
            },
            "phases": [phase()],
            "training": {"batchSize": 8},
            **spec,
        }
        job = FineTuneJob.model_validate(
            {
                "apiVersion": "graftwork.dev/v1alpha1",
                "kind": "FineTuneJob",
                "metadata": {"name": "pets"},
                "spec": content,
            }
        )
        return make_plan(job, base_dir=tmp_path, settings=settings, reporter=SilentReporter()).plan

    return run


def phase(unfreeze: Any = "none", **fields: Any) -> dict[str, Any]:
    return {"name": "only", "epochs": 2, "learningRate": 0.1, "unfreeze": unfreeze, **fields}


@pytest.mark.parametrize("batch_size", [1, 7, 8, 18, 100])
def test_steps_cover_the_training_data_once(batch_size: int, plan_of: MakePlan) -> None:
    """The last batch of an epoch may be short, and none is empty."""
    plan = plan_of(training={"batchSize": batch_size})
    train = sum(plan.counts["train"].values())
    assert plan.phases[0].steps_per_epoch == math.ceil(train / batch_size)


def test_every_picture_is_counted_once(plan_of: MakePlan) -> None:
    """Splits by fraction share out all pictures, class by class."""
    counts = plan_of().counts
    assert {label: sum(split[label] for split in counts.values()) for label in ("cat", "dog")} == {"cat": 20, "dog": 10}


def test_more_unfrozen_layers_need_more(plan_of: MakePlan) -> None:
    """Parameters, memory and time grow with what trains; what is there in all does not."""
    plans = [plan_of(phases=[phase(unfreeze)]) for unfreeze in ("none", {"lastLayers": 1}, {"lastLayers": 2}, "all")]
    trainable = [plan.phases[0].trainable_parameters for plan in plans]
    head, conv, first = 4 * 2 + 2, 3 * 3 * 4 * 4 + 4, 3 * 3 * 3 * 4 + 4
    assert trainable == [head, head + conv, head + 2 * conv, head + 2 * conv + first]
    memory = [plan.memory_bytes_per_worker for plan in plans]
    assert memory == sorted(set(memory))
    times = [plan.phases[0].estimated_s for plan in plans]
    assert times == sorted(set(times))
    assert len({plan.phases[0].total_parameters for plan in plans}) == 1


@pytest.mark.parametrize(("cache", "passes"), [("auto", 1), ("none", 3)])
def test_a_frozen_phase_takes_a_forward_pass_of_each_picture(plan_of: MakePlan, cache: str, passes: int) -> None:
    """Of training and validation data: once and for all, or once an epoch where nothing is kept."""
    plan = plan_of(phases=[phase(epochs=3)], features={"cache": cache})
    seen = sum(plan.counts["train"].values()) + sum(plan.counts["validation"].values())
    assert plan.phases[0].estimated_s == pytest.approx(passes * seen * _SECONDS_PER_PICTURE)


def test_what_will_be_kept(plan_of: MakePlan) -> None:
    """The pooled outputs of all pictures, float32; with views, those of each training picture."""
    plan = plan_of(phases=[phase(epochs=5)])
    train, validation = (sum(plan.counts[split].values()) for split in ("train", "validation"))
    kept = plan.phases[0].features
    assert kept is not None
    assert (kept.cut, kept.views, kept.size_bytes) == ("head_pool", 0, (train + validation) * 4 * 4)
    assert kept.saved_s == pytest.approx(4 * (train + validation) * _SECONDS_PER_PICTURE)
    flip = [{"flip": "horizontal"}]
    kept = plan_of(phases=[phase(epochs=5)], augment=flip, features={"views": 3}).phases[0].features
    assert kept is not None
    assert (kept.views, kept.size_bytes) == (3, (3 * train + validation) * 4 * 4)
    assert kept.saved_s == pytest.approx((2 * train + 4 * validation) * _SECONDS_PER_PICTURE)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"features": {"cache": "none"}}, "features.cache is none"),
        ({"augment": [{"flip": "horizontal"}]}, "pictures change in every epoch"),
        ({"phases": [phase("all")]}, "no layer below the freeze boundary"),
    ],
)
def test_why_nothing_will_be_kept(plan_of: MakePlan, spec: dict[str, Any], reason: str) -> None:
    """In words; nothing is saved then."""
    planned = plan_of(**spec).phases[0]
    assert planned.features is None
    assert planned.no_features.startswith(reason)


def test_features_that_find_no_room_are_not_kept(plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same limit that the workers keep to."""
    monkeypatch.setattr("graftwork_jobs.features.store.FeatureStore.limit_below", lambda _: 10)
    planned = plan_of().phases[0]
    assert planned.features is None
    assert "room" in planned.no_features


def test_time_scales_with_epochs_and_cores(plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the epochs take twice as long; so does half the machine."""
    one = plan_of(phases=[phase("all", epochs=2)]).phases[0].estimated_s
    assert plan_of(phases=[phase("all", epochs=4)]).phases[0].estimated_s == pytest.approx(2 * one)
    monkeypatch.setattr(plan_module, "_cores", lambda: 2)
    assert plan_of(phases=[phase("all", epochs=2)]).phases[0].estimated_s == pytest.approx(2 * one)


def test_a_baseline_trains_everything_twice(plan_of: MakePlan) -> None:
    """The estimate for the run counts its workers' start, its phases and its tests again, what comes once not."""
    plain, compared = plan_of(), plan_of(evaluation={"baseline": "random-weights"})
    again_s = compared.estimated_s - plain.estimated_s
    passes_s = plain.phases[0].estimated_s + plain.sizes["test"] * _SECONDS_PER_PICTURE
    assert again_s == pytest.approx(passes_s + _WORKERS_START_S + _PHASE_START_S)
    assert plain.estimated_s == pytest.approx(again_s + _RAY_AND_BUNDLE_S)


def test_a_worker_needs_less_memory_when_others_take_their_share(plan_of: MakePlan) -> None:
    """Activations are kept for a worker's rows only; pieces of a batch do the same."""
    phases, whole = [phase("all")], {"batchSize": 64}
    alone = plan_of(phases=phases, training=whole).memory_bytes_per_worker
    shared = plan_of(phases=phases, training=whole, scaling={"workers": 2}).memory_bytes_per_worker
    pieces = plan_of(phases=phases, training={**whole, "gradientAccumulation": 2}).memory_bytes_per_worker
    assert alone > shared == pieces


@pytest.mark.parametrize(
    ("register", "words"),
    [
        (None, "nothing; the bundle stays"),
        ({"model": "pets"}, "a new version of pets, alias champion in the embedded registry"),
        ({"model": "pets", "alias": None}, "a new version of pets in the embedded registry"),
    ],
)
def test_what_will_be_registered(register: dict[str, Any] | None, words: str, plan_of: MakePlan) -> None:
    """In words a person understands."""
    assert plan_of(register=register).registers.startswith(words)


def test_problems_of_data_and_model_are_told_together(plan_of: MakePlan, tmp_path: Path) -> None:
    """A user mends all of them at once."""
    (tmp_path / "pictures" / "bird").mkdir()
    (tmp_path / "pictures" / "cat" / "000.png").write_bytes(b"no picture")
    with pytest.raises(SpecError) as raised:
        plan_of(phases=[phase({"fromLayer": "cnov1"}), {**phase({"lastLayers": 9}), "name": "other"}])
    assert [problem.where for problem in raised.value.problems] == [
        "spec.data.train.uri",
        "spec.data.train.uri",
        "spec.phases[0].unfreeze.fromLayer",
        "spec.phases[1].unfreeze.lastLayers",
    ]
    assert "conv1" in raised.value.problems[2].fix


def test_a_gate_on_the_best_five_of_two_classes_is_refused(plan_of: MakePlan) -> None:
    """Before anything is trained: whatever the model says, the true class is among them."""
    gates = [{"metric": "accuracy", "min": 0.1}, {"metric": "top5_accuracy", "min": 0.9}]
    with pytest.raises(SpecError, match=r"gates\[1\].metric: received top5_accuracy with 2 classes"):
        plan_of(evaluation={"gates": gates}, register={"model": "m"})


def test_a_backend_that_is_not_installed_is_refused(plan_of: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the data is looked at, with the command that installs it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    with pytest.raises(SpecError) as caught:
        plan_of(training={"backend": "jax"}, data={"train": {"uri": "nowhere"}})
    (problem,) = caught.value.problems
    assert problem.where == "spec.training.backend"
    assert "pip install 'graftwork[jax]'" in problem.fix


def test_a_plan_is_json_ready(plan_of: MakePlan) -> None:
    """Nothing is lost on the way."""
    content = json.loads(json.dumps(plan_of().as_dict()))
    assert content["labels"] == ["cat", "dog"]
    assert content["phases"][0]["unfreeze"] == "none"


def test_a_plan_in_words(plan_of: MakePlan, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts, phases, pictures left out and warnings."""
    (tmp_path / "pictures" / "cat" / "000.png").write_bytes(b"no picture")
    data = {"train": {"uri": "pictures"}, "validation": {"fraction": 0.2}, "test": {"fraction": 0.2}}
    plan = plan_of(data={**data, "onBadImage": "skip"}, phases=[phase({"fromLayer": "conv1"}, learningRate=1e-4)])
    print_plan(plan)
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()]
    assert ["dog", "6", "2", "2"] in rows
    assert any(row[:5] == ["only", "2", "fromLayer", "conv1", "conv1"] and "0.0001" in row for row in rows)
    assert f"left out: {tmp_path / 'pictures' / 'cat' / '000.png'}: " in printed
    assert "only: outputs of conv0 are computed once and kept: " in printed
    assert "Warning: 1 picture cannot be read and is left out." in printed
