"""Columns by which the test set is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from graftwork.errors import SpecError
from tests.unit.jobs.data.pictures import scan, write_folder, write_picture


def _table(folder: Path, name: str, pictures: int, *, first: int = 0, weights: bool = False) -> str:
    """A table whose camera says what the picture's number is, modulo 3; every fifth cell is empty."""
    lines = ["path,label,weight,camera,lens" if weights else "path,label,camera,lens"]
    for number in range(first, first + pictures):
        write_picture(folder / f"{number}.png", number)
        camera = "" if number % 5 == 0 else f"c{number % 3}"
        weight = f"{1 + number % 2}," if weights else ""
        lines.append(f"{number}.png,{'ab'[number % 2]},{weight}{camera},l{number}")
    (folder / name).write_text("\n".join(lines))
    return name


def _expected(inputs: tuple[str, ...]) -> tuple[list[str], list[str]]:
    numbers = [int(Path(each).stem) for each in inputs]
    return ["" if number % 5 == 0 else f"c{number % 3}" for number in numbers], [f"l{number}" for number in numbers]


@pytest.mark.parametrize("weights", [False, True])
def test_cells_stay_with_their_examples(weights: bool, tmp_path: Path) -> None:
    """Through a split by fraction, beside a column of weights, with empty cells; only the test set is cut."""
    data: dict[str, Any] = {"train": {"uri": _table(tmp_path, "all.csv", 40, weights=weights)}}
    if weights:
        data["weightColumn"] = "weight"
    found = scan(tmp_path, slices=["camera", "lens"], **data)
    test = found.index.splits["test"]
    assert len(test) > 0
    cameras, lenses = _expected(test.inputs)
    assert list(test.slices["camera"]) == cameras
    assert list(test.slices["lens"]) == lenses
    assert found.index.splits["train"].slices == {}
    assert found.index.digest == scan(tmp_path, **data).index.digest


def test_only_the_table_of_the_test_set_needs_the_column(tmp_path: Path) -> None:
    """Training pictures may lie in folders."""
    write_folder(tmp_path / "train", {"a": 6, "b": 6}, first=100)
    test = _table(tmp_path, "test.csv", 12)
    found = scan(tmp_path, slices=["camera"], train={"uri": "train"}, test={"uri": test})
    assert list(found.index.splits["test"].slices["camera"]) == _expected(found.index.splits["test"].inputs)[0]


@pytest.mark.parametrize(
    ("uri", "where", "said"),
    [("all.csv", "spec.evaluation.slices[1]", "`camera`"), ("folder", "spec.data.train.uri", "a table")],
)
def test_a_column_that_is_not_there_is_named(uri: str, where: str, said: str, tmp_path: Path) -> None:
    """With the place in the spec, and a near name if there is one."""
    _table(tmp_path, "all.csv", 20)
    write_folder(tmp_path / "folder", {"a": 6, "b": 6}, first=50)
    with pytest.raises(SpecError) as caught:
        scan(tmp_path, slices=["lens", "camra"], train={"uri": uri})
    (problem,) = caught.value.problems
    assert problem.where == where
    assert said in problem.fix + problem.expected
