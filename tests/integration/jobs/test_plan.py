"""`graft plan`, as a user calls it."""

from __future__ import annotations

import json
import re

import pytest

from tests.integration.jobs.graft_home import GraftHome
from tests.integration.jobs.tiny_jobs import CLASSES, PICTURES_A_CLASS, SIDE, spoil, write_job

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def test_a_plan_says_what_will_happen(graft_home: GraftHome) -> None:
    """Classes, phases with their freeze boundary, and what will be registered; nothing is run."""
    ended = graft_home.graft("plan", write_job(graft_home.work, "planned"))
    assert ended.code == 0, ended.err
    assert ended.err == ""
    rows = [line.split() for line in ended.out.splitlines()]
    assert ["total", "18", "9", "9"] in rows
    assert any(row[:5] == ["tune", "20", "fromLayer", "conv1", "conv1"] for row in rows)
    assert "registers a new version of tiny, alias champion in the embedded registry" in ended.out
    assert graft_home.runs("planned") == []


def test_a_plan_as_json(graft_home: GraftHome) -> None:
    """Standard output is one JSON document with the same facts."""
    ended = graft_home.graft("plan", write_job(graft_home.work, "planned-json"), "-o", "json")
    plan = ended.json
    assert ended.code == 0
    assert plan["labels"] == list(CLASSES)
    assert sum(sum(counts.values()) for counts in plan["counts"].values()) == len(CLASSES) * PICTURES_A_CLASS
    assert plan["image_size"] == [SIDE, SIDE]
    head, tune = plan["phases"]
    # The head has a weight for each of ten channels and a bias, for each class; conv1 has 6 x 10 kernels of 3 x 3, and
    # its BatchNorm two numbers a channel.
    assert head["trainable_parameters"] == (10 + 1) * len(CLASSES)
    assert tune["trainable_parameters"] - head["trainable_parameters"] == 6 * 10 * 9 + 2 * 10
    assert head["steps_per_epoch"] == 5


def test_everything_wrong_is_told_at_once(graft_home: GraftHome) -> None:
    """Exit code 2, and a sentence for each mistake in data, backbone and phases."""
    phases = [{"name": "tune", "epochs": 1, "unfreeze": {"fromLayer": "cnov1"}, "learningRate": 0.1}]
    data = {"train": {"uri": spoil(graft_home.work, "spoilt")}}
    ended = graft_home.graft("plan", write_job(graft_home.work, "wrong", data=data, phases=phases), "-o", "json")
    assert ended.code == 2
    assert "Traceback" not in ended.err
    lines = {problem["where"]: problem["line"] for problem in ended.json["error"]["problems"]}
    written = (graft_home.work / "wrong.yaml").read_text().splitlines()
    assert "cnov1" in written[lines["spec.phases[0].unfreeze.fromLayer"] - 1]
    told = [(problem["where"], problem["received"] + problem["fix"]) for problem in ended.json["error"]["problems"]]
    for where, words in [
        ("spec.data.train.uri", "letter.jpg"),
        ("spec.data.train.uri", "class nothing"),
        ("spec.data.train.uri", "lonely (1)"),
        ("spec.phases[0].unfreeze.fromLayer", "`conv1`"),
    ]:
        assert any(place == where and words in text for place, text in told), (where, words, told)


@pytest.mark.parametrize(
    ("backbone", "where", "words"),
    [
        ({"path": "tinny.keras"}, "spec.backbone.path", "tinny.keras"),
        ({"path": "tiny.keras", "weights": "no.weights.h5"}, "spec.backbone.weights", "no.weights.h5"),
        ({"name": "EficientNetB0", "weights": "none"}, "spec.backbone.name", "EfficientNetB0"),
    ],
)
def test_a_backbone_that_is_not_there(backbone: dict[str, str], where: str, words: str, graft_home: GraftHome) -> None:
    """Named with the place in the spec, and near names where there are some."""
    ended = graft_home.graft("run", write_job(graft_home.work, "no-backbone", backbone=backbone))
    assert ended.code == 2
    assert re.match(rf"no-backbone\.yaml:\d+: {re.escape(where)}: received ", ended.err)
    assert words in ended.err
    assert "Traceback" not in ended.err
    assert graft_home.runs("no-backbone") == []


def test_errors_of_the_file_come_before_anything_else(graft_home: GraftHome) -> None:
    """A wrong size is told with its line, without loading Keras or looking at data."""
    file = write_job(graft_home.work, "small-size", input={"imageSize": [8, 16]}, data={"train": {"uri": "nowhere"}})
    ended = graft_home.graft("plan", file)
    assert ended.code == 2
    assert "spec.input.imageSize[0]: received 8, expected a whole number from 16" in ended.err
    assert ended.out == ""
    assert json.dumps("nowhere") not in ended.err
