"""What a task's name says."""

from __future__ import annotations

import typing

import pytest

from graftwork.spec.fine_tune_job import FineTuneJobSpec
from graftwork.spec.tasks import input_kind, target_kind


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("image-classification", ("image", "classes")),
        ("text-classification", ("text", "classes")),
        ("image-multilabel-classification", ("image", "multilabel")),
        ("text-regression", ("text", "numbers")),
        ("image-ordinal-classification", ("image", "levels")),
        ("text-ordinal-classification", ("text", "levels")),
    ],
)
def test_a_task_names_input_and_target(task: str, expected: tuple[str, str]) -> None:
    """The first word is what goes in, the rest what is to be found."""
    assert (input_kind(task), target_kind(task)) == expected


def test_every_task_of_the_spec_is_known() -> None:
    """No task is accepted that has no target."""
    for task in typing.get_args(FineTuneJobSpec.model_fields["task"].annotation):
        assert target_kind(task)
