"""Phases on texts in this very process: adapters through checkpoints and beside the store of features."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graftwork.preprocess.text import TextSpec
from graftwork.progress import SilentReporter
from graftwork.spec.fine_tune_job import Backbone, FineTuneJob
from graftwork_jobs.data.index import DatasetIndex, Split
from graftwork_jobs.events import read_events
from graftwork_jobs.model.adapters import adapter_variables
from graftwork_jobs.model.text_backbone import load_text_backbone
from graftwork_jobs.train.request import TrainRequest
from graftwork_jobs.train.run_context import RunContext
from tests.support.lonely_host import KilledError, LonelyHost, train_alone
from tests.support.tiny_bert import save_tiny_bert
from tests.support.tiny_texts import LABELS, tiny_texts

pytestmark = pytest.mark.usefixtures("on_this_machine")

_HEAD = {"name": "head", "epochs": 1, "unfreeze": "none", "learningRate": 0.01}
_ADAPT = {"name": "adapt", "epochs": 3, "unfreeze": {"lora": {"rank": 2, "alpha": 4}}, "learningRate": 0.01}
_POLISH = {"name": "polish", "epochs": 1, "unfreeze": "none", "learningRate": 0.01}
_PHASES = [_HEAD, _ADAPT, _POLISH]


@dataclass(frozen=True, kw_only=True)
class _Texts:
    root: Path
    preset: Path
    spec: TextSpec


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> _Texts:
    """A tiny BERT, its tokenizer and an index of texts."""
    root = tmp_path_factory.mktemp("texts")
    save_tiny_bert(root / "bert")
    sizes = {"train": 22, "validation": 8, "test": 8}
    splits = {}
    for seed, (name, size) in enumerate(sizes.items()):
        rows = tiny_texts(size, seed=seed)
        splits[name] = Split(
            name=name,
            inputs=tuple(text for text, _ in rows),
            targets=np.array([LABELS.index(label) for _, label in rows], np.int32),
            digests=tuple(hashlib.sha256(text.encode()).hexdigest() for text, _ in rows),
        )
    DatasetIndex(labels=LABELS, splits=splits).save(root / "index.parquet")
    loaded = load_text_backbone(
        Backbone(path=str(root / "bert")),
        pooling="avg",
        max_tokens=None,
        base_dir=root,
        weights_dir=root / "weights",
        reporter=SilentReporter(),
    )
    return _Texts(root=root, preset=root / "bert", spec=loaded.text)


def _request(texts: _Texts, run_dir: Path, store: Path, phases: list[dict[str, Any]]) -> TrainRequest:
    run_dir.mkdir()
    job = FineTuneJob.model_validate(
        {
            "apiVersion": "graftwork.dev/v1alpha1",
            "kind": "FineTuneJob",
            "metadata": {"name": "tiny-texts"},
            "spec": {
                "task": "text-classification",
                "backbone": {"path": str(texts.preset)},
                "data": {"train": {"uri": "unused.csv"}},
                "head": {"dropout": 0.2},
                "phases": phases,
                "training": {"batchSize": 8, "seed": 5},
                # A checkpoint after each epoch, however short.
                "scaling": {"checkpointEverySeconds": 1e-6},
            },
        }
    )
    return TrainRequest(
        job=job,
        base_dir=texts.root,
        run_dir=run_dir,
        index_file=texts.root / "index.parquet",
        input=texts.spec,
        weights_dir=texts.root / "weights",
        data_cache_dir=texts.root / "cache",
        features_dir=store,
        run_name=run_dir.name,
    )


def _found(request: TrainRequest) -> list[tuple[str, str, bool]]:
    """Phase, split and whether the store had the features, in order."""
    events = [event for event in read_events(request.events_file) if event["kind"] == "features"]
    return [(event["phase"], event["split"], event["hit"]) for event in events]


@pytest.fixture(scope="module")
def undisturbed(texts: _Texts, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainRequest, RunContext, list[Any]]:
    """A head, then adapters, then the head again."""
    root = tmp_path_factory.mktemp("undisturbed")
    request = _request(texts, root / "run", root / "store", _PHASES)
    return request, *train_alone(request, LonelyHost(folder=root / "checkpoints"))


def test_adapters_are_merged_when_their_phase_ends(
    undisturbed: tuple[TrainRequest, RunContext, list[Any]], texts: _Texts
) -> None:
    """Kernels have moved, embeddings have not, and adapters hold nothing more."""
    _, run, _ = undisturbed
    fresh = load_text_backbone(
        Backbone(path=str(texts.preset)),
        pooling="avg",
        max_tokens=None,
        base_dir=texts.root,
        weights_dir=texts.root,
        reporter=SilentReporter(),
    )
    adapters = {id(each) for each in adapter_variables(run.network.backbone)}
    trained = [each for each in run.network.backbone.weights if id(each) not in adapters]
    moved = {
        before.path.rsplit("/", 1)[-1]
        for before, after in zip(fresh.model.weights, trained, strict=True)
        if not np.array_equal(before.numpy(), after.numpy())
    }
    assert moved == {"kernel"}
    assert all(np.all(each.numpy() == 0) for each in adapter_variables(run.network.backbone) if each.name.endswith("b"))


def test_going_on_in_a_phase_of_adapters_changes_nothing(
    undisturbed: tuple[TrainRequest, RunContext, list[Any]], texts: _Texts, tmp_path: Path
) -> None:
    """Killed within the phase and again after its last epoch: the same weights and figures, bit by bit."""
    _, expected, history = undisturbed
    request = _request(texts, tmp_path / "run", tmp_path / "store", _PHASES)
    host = LonelyHost(folder=tmp_path / "checkpoints", dies_after=(3, 4))
    for _ in host.dies_after:
        with pytest.raises(KilledError):
            train_alone(request, host)
    run, found = train_alone(request, host)
    assert found == history
    for ours, theirs in zip(run.network.model.variables, expected.network.model.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=theirs.path)


def test_features_are_those_of_the_weights_of_the_moment(
    undisturbed: tuple[TrainRequest, RunContext, list[Any]], texts: _Texts, tmp_path: Path
) -> None:
    """After the adapters features are computed afresh; those of before serve a job without adapters."""
    request, _, _ = undisturbed
    assert _found(request) == [
        (phase, split, False) for phase in ("head", "polish") for split in ("train", "validation")
    ]
    plain = _request(texts, tmp_path / "run", request.features_dir, [_HEAD])
    train_alone(plain, LonelyHost(folder=tmp_path / "checkpoints"))
    assert _found(plain) == [("head", "train", True), ("head", "validation", True)]
