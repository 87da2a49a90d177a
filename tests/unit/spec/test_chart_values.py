from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from graftwork.spec.chart_values import chart_files, values_schema, values_yaml
from graftwork.spec.crd import CHART_DIR
from tests.unit.spec.examples import changed

DEFAULTS: dict[str, Any] = yaml.safe_load(values_yaml())


def _sections(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _sections(value, (*path, key))


FREE = {("nodeSelector",), ("serviceAccount", "annotations"), ("metrics", "labels")} | {
    path for path in _sections(DEFAULTS) if path[-1:] in {("requests",), ("limits",)}
}
CLOSED = [path for path in _sections(DEFAULTS) if path not in FREE]


def test_committed_files_are_those_of_the_models() -> None:
    """The chart's values and their schema are what `python -m graftwork.spec.chart_values` writes."""
    assert {name: (CHART_DIR / name).read_text() for name in chart_files()} == chart_files()


def test_defaults_pass() -> None:
    """The values that the chart brings are right, by a validator that is not ours."""
    jsonschema.Draft7Validator.check_schema(values_schema())
    jsonschema.Draft7Validator(values_schema()).validate(DEFAULTS)


@pytest.mark.parametrize("path", CLOSED, ids="/".join)
def test_unknown_keys_are_refused(path: tuple[str, ...]) -> None:
    """A key that means nothing is refused wherever it stands, but among names that are free."""
    wrong = changed(DEFAULTS, (*path, "nothing"), "x")
    with pytest.raises(jsonschema.ValidationError, match="'nothing' was unexpected"):
        jsonschema.Draft7Validator(values_schema()).validate(wrong)


def test_closed_sections_are_most() -> None:
    """The test above looked at something."""
    assert len(CLOSED) >= 16


def test_every_value_has_a_comment() -> None:
    """Whoever opens `values.yaml` reads above each key what it means."""
    lines = values_yaml().splitlines()
    keys = [number for number, line in enumerate(lines) if line and not line.strip().startswith("#")]
    assert len(keys) > 30
    assert [lines[number] for number in keys if not lines[number - 1].strip().startswith("#")] == []
