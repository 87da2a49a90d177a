"""Fields of pictures in jobs on texts, and the other way round."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from graftwork.spec.fine_tune_job import FineTuneJob
from tests.unit.spec.examples import JOB, changed

TEXT_JOB: dict[str, Any] = {
    "apiVersion": "graftwork.dev/v1alpha1",
    "kind": "FineTuneJob",
    "metadata": {"name": "reviews"},
    "spec": {
        "task": "text-classification",
        "backbone": {"preset": "bert_tiny_en_uncased"},
        "input": {"maxTokens": 64},
        "data": {"train": {"uri": "reviews.jsonl", "textColumn": "body"}, "test": {"uri": "test.csv"}},
        "head": {"pooling": "first"},
        "phases": [{"name": "tune", "epochs": 2, "unfreeze": "all", "learningRate": 5e-5}],
    },
}


def test_a_job_on_texts_is_accepted_and_survives_being_written() -> None:
    """What is stored with a run can be read again."""
    job = FineTuneJob.model_validate(TEXT_JOB)
    assert FineTuneJob.model_validate(job.model_dump(mode="json", by_alias=True, exclude_none=True)) == job


@pytest.mark.parametrize(
    ("path", "value", "fix"),
    [
        (("input", "imageSize"), [32, 32], "maxTokens"),
        (("input", "resize"), "crop", "maxTokens"),
        (("augment",), [{"flip": "both"}], "pictures"),
        (("backbone",), {"name": "ResNet50"}, "preset"),
        (("data", "onBadImage"), "skip", "no text"),
        (("data", "train", "pathColumn"), "file", "textColumn"),
        (("data", "test", "format"), "image-folder", "table"),
        (("training",), {"batchNorm": "train"}, "no such layers"),
    ],
)
def test_what_belongs_to_pictures_is_refused_for_texts(path: tuple[str | int, ...], value: Any, fix: str) -> None:
    """Each with what to do instead."""
    with pytest.raises(ValidationError, match=fix):
        FineTuneJob.model_validate(changed(TEXT_JOB, ("spec", *path), value))


@pytest.mark.parametrize(
    ("path", "value", "fix"),
    [
        (("input", "maxTokens"), 64, "imageSize"),
        (("data", "train", "textColumn"), "body", "pathColumn"),
        (("head", "pooling"), "first", "avg"),
    ],
)
def test_what_belongs_to_texts_is_refused_for_pictures(path: tuple[str | int, ...], value: Any, fix: str) -> None:
    """Each with what to do instead."""
    with pytest.raises(ValidationError, match=fix):
        FineTuneJob.model_validate(changed(JOB, ("spec", *path), value))
