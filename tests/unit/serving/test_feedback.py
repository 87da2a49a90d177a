from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from graftwork.errors import RequestError
from graftwork.metrics import ServingMetrics
from graftwork_serving.endpoint_config import PredictionLogConfig
from graftwork_serving.prediction_log.ids import request_id
from graftwork_serving.prediction_log.log import PredictionLog
from graftwork_serving.web.feedback import parse_feedback
from graftwork_serving.work_pool import WorkPool
from tests.support.bundles import picture_bytes
from tests.unit.serving.test_app import ask, make_app

NOW = datetime(2026, 1, 2, tzinfo=UTC)
FEEDBACK = "/v1/endpoints/e/feedback"


def test_an_answers_id_joins_it_with_what_was_right(metrics: ServingMetrics, tmp_path: Path) -> None:
    """From the answer's header through feedback to two tables that join."""
    pool = WorkPool(threads=1)
    app = make_app(pool, metrics, tmp_path)
    config = PredictionLogConfig(path=str(tmp_path / "log"), sample=1.0, inputs=False, max_bytes=10**7)
    app.log = PredictionLog(config, lambda *_: None)
    status, headers, _ = ask(app, picture_bytes(seed=1))
    name = headers[b"x-request-id"].decode()
    told = json.dumps({"requestId": name, "label": "yes"}).encode()
    answer = ask(app, told, path=FEEDBACK)
    app.log.close()
    pool.close()
    assert (status, answer[0], answer[2]) == (200, 202, {"accepted": 1})
    (said,) = pq.read_table(tmp_path / "log" / "predictions").to_pylist()
    (right,) = pq.read_table(tmp_path / "log" / "feedback").to_pylist()
    assert (said["request_id"], said["label"], said["protocol"]) == (name, "no", "plain")
    assert (right["request_id"], right["example"], right["true_label"]) == (name, 0, "yes")


def test_without_a_log_there_is_no_id_and_no_feedback(metrics: ServingMetrics, tmp_path: Path) -> None:
    """Nothing is kept unless the spec says so, and the refusal says how."""
    pool = WorkPool(threads=1)
    app = make_app(pool, metrics, tmp_path)
    assert b"x-request-id" not in ask(app, picture_bytes(seed=1))[1]
    status, _, answer = ask(app, b'{"requestId": "a", "label": "yes"}', path=FEEDBACK)
    pool.close()
    assert status == 404
    assert "spec.predictionLog" in answer["error"]


def test_a_clients_own_name_for_its_request_is_kept_if_it_is_harmless() -> None:
    """Printable, short, one line; anything else gets a new name."""
    assert request_id("order-7/a") == "order-7/a"
    for given in (None, "", "a b", "a\nb", "é", "x" * 129):
        assert len(request_id(given)) == 32


def test_feedback_comes_one_by_one_or_several_at_once() -> None:
    """For each kind of answer."""
    (one,) = parse_feedback(b'{"requestId": "a", "label": "rose"}', NOW)
    assert (one.request_id, one.example, one.label, one.time) == ("a", 0, "rose", NOW)
    rows: list[dict[str, Any]] = [
        {"requestId": "b", "example": 3, "labels": []},
        {"requestId": "c", "values": {"height": 2, "width": 1.5}},
    ]
    several = parse_feedback(json.dumps({"feedback": rows}).encode(), NOW)
    assert [(row.example, row.labels) for row in several] == [(3, ()), (0, None)]
    assert several[1].values == {"height": 2.0, "width": 1.5}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[]", "a JSON object"),
        (b'{"label": "rose"}', "requestId"),
        (b'{"requestId": "a"}', "one of label, labels and values"),
        (b'{"requestId": "a", "label": "x", "labels": []}', "label and labels"),
        (b'{"requestId": "a", "label": 3}', "label: received a number"),
        (b'{"requestId": "a", "label": "\\ud800"}', "lone surrogate"),
        (b'{"requestId": "a", "labels": "x"}', "a list of labels"),
        (b'{"requestId": "a", "values": {"h": true}}', "numbers by their names"),
        (b'{"requestId": "a", "example": -1, "label": "x"}', "a position from 0 on"),
        (b'{"requestId": "a", "label": "x", "note": 1}', "note: received an unknown key"),
        (b'{"feedback": []}', "0 entries"),
        (b'{"feedback": [{"requestId": "a", "label": "x"}, 7]}', "feedback[1]: received a number"),
        (b'{"feedback": [], "label": "x"}', '"feedback" alone'),
        (b'{"requestId": "a", "values": {"h": 1' + b"0" * 400 + b"}}", "too large"),
        (b'{"requestId": "a", "values": {"h": NaN}}', "ordinary numbers"),
        (b'{"requestId": "a", "values": {"h": 1, "w": -Infinity}}', "ordinary numbers"),
    ],
)
def test_what_is_no_feedback_is_refused_in_words(body: bytes, words: str) -> None:
    """Field, received, expected, fix."""
    with pytest.raises(RequestError) as refused:
        parse_feedback(body, NOW)
    assert refused.value.status == 400
    assert words in refused.value.message
