"""A job on texts from the table to the answer of an endpoint."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from graftwork.bundle.directory import open_bundle
from graftwork.data_files.tables import read_table
from graftwork_jobs.events import read_events
from tests.integration.jobs.graft_home import Ended, GraftHome
from tests.integration.jobs.text_jobs import TEXT_JOB, assert_adapters_learned, write_texts
from tests.integration.jobs.tiny_jobs import write_job
from tests.support.tiny_texts import LABELS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

_JOB = {**TEXT_JOB, "register": {"model": "opinions", "alias": "champion"}}


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the commands said, and what the run left."""

    run: Ended
    asked: Ended
    served: Ended


@pytest.fixture(scope="module")
def texts(graft_home: GraftHome) -> Path:
    """The folder with a tiny BERT and a table of texts beside the specs."""
    write_texts(graft_home.work)
    return graft_home.work


@pytest.fixture(scope="module")
def told(graft_home: GraftHome, texts: Path) -> Iterator[Told]:
    """`graft run`, `graft serve` and `graft predict`."""
    run = graft_home.graft("run", write_job(texts, "opinions", **_JOB), "-o", "json")
    assert run.code == 0, run.err
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    endpoint = {
        "apiVersion": "graftwork.dev/v1alpha1",
        "kind": "InferenceEndpoint",
        "metadata": {"name": "opinions"},
        "spec": {"models": [{"model": "opinions@champion"}], "http": {"port": port}},
    }
    (texts / "endpoint.yaml").write_text(yaml.safe_dump(endpoint))
    served = graft_home.graft("serve", "--detach", "endpoint.yaml")
    try:
        assert served.code == 0, served.err
        bundle = open_bundle(Path(run.json["bundle"]))
        golden = [(bundle.path / example.file).read_text() for example in bundle.manifest.golden]
        options = [option for text in golden for option in ("--text", text)]
        asked = graft_home.graft("predict", "opinions", *options, "--top", "2", "-o", "json")
        yield Told(run=run, asked=asked, served=served)
    finally:
        graft_home.graft("endpoints", "stop", "opinions")


def test_the_endpoint_says_what_training_said(told: Told) -> None:
    """Texts through tokenizer, batching and engine of the endpoint: the scores that the bundle keeps from training."""
    bundle = open_bundle(Path(told.run.json["bundle"]))
    assert tuple(bundle.manifest.output.labels) == LABELS
    answers = told.asked.json
    assert len(answers) == len(bundle.manifest.golden)
    for example in bundle.manifest.golden:
        answer = answers[(bundle.path / example.file).read_text()]
        received = [answer["scores"][label] for label in LABELS]
        np.testing.assert_allclose(received, example.scores, atol=1e-3)


def test_a_table_is_answered_as_the_test_set_was(told: Told, graft_home: GraftHome) -> None:
    """`graft batch-predict` gives the very table that the run left, whatever the column of the texts is called."""
    (run,) = graft_home.runs("opinions")
    columns = ["text", "predicted_label", *(f"score_{label}" for label in LABELS)]
    left = read_table(run.predictions_dir / "test.csv", "csv", columns).rows
    texts = pa.table({"number": range(len(left)), "body": [row.values[0] for row in left]})
    pq.write_table(texts, graft_home.work / "bodies.parquet")
    command = ("batch-predict", "opinions@champion", "bodies.parquet", "answers.jsonl")
    done = graft_home.graft(*command, "--column", "body", "--scores", "-o", "json")
    assert done.code == 0, done.err
    assert (done.json["examples"], done.json["failed"]) == (len(left), 0)
    assert sum(done.json["counts"].values()) == len(left)
    found = read_table(graft_home.work / "answers.jsonl", "jsonl", ["body", *columns[1:], "number"]).rows
    assert [row.values[:2] for row in found] == [row.values[:2] for row in left]
    assert [row.values[-1] for row in found] == [str(number) for number in range(len(left))]
    scores, expected = (
        [[float(cell) for cell in row.values[2 : 2 + len(LABELS)]] for row in rows] for rows in (found, left)
    )
    np.testing.assert_allclose(scores, expected, atol=1e-3)


def test_two_workers_were_compared_with_one(told: Told, graft_home: GraftHome) -> None:
    """The preflight ran with adapters; the small head before was not spread over the workers."""
    (run,) = graft_home.runs("opinions")
    events = read_events(run.events_file)
    assert [event["phase"] for event in events if event["kind"] == "preflight"] == ["adapt"]
    assert [event["phase"] for event in events if event["kind"] == "replicated"] == ["head"]


def test_adapters_learn(told: Told, graft_home: GraftHome) -> None:
    """The loss falls in their phase, and the bundle's network is an ordinary one."""
    (run,) = graft_home.runs("opinions")
    assert_adapters_learned(run.events_file)
    plan = json.loads(run.plan_file.read_text())
    head, adapt = plan["phases"]
    assert head["trainable_parameters"] < adapt["trainable_parameters"] < adapt["total_parameters"] / 2
    assert adapt["unfreeze"] == "lora rank 2"


def test_nobody_speaks_of_pictures(told: Told, graft_home: GraftHome) -> None:
    """Neither the run nor the endpoint nor what the report shows."""
    (run,) = graft_home.runs("opinions")
    page = (run.report_dir / "report.html").read_text()
    report = re.sub(r"<(style|script).*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
    said = f"{told.run.err} {told.served.out} {told.served.err} {report}"
    assert re.findall(r"\b(?:pictures?|images?|cat\.jpg)\b", said, flags=re.IGNORECASE) == []
    assert "--text" in told.served.out
