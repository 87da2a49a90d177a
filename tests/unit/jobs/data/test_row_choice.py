"""One table for training, validation and test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graftwork.errors import SpecError
from tests.unit.jobs.data.pictures import scan, write_folder, write_picture

PARTS = ("train", "train", "train", "val", "test", "unused")


def write_table(folder: Path, kind: str, pictures: int = 36) -> str:
    """A table whose column `split` goes round the parts; rows of the last one have no label."""
    rows: list[dict[str, Any]] = []
    for number in range(pictures):
        write_picture(folder / f"{number}.png", number)
        part = PARTS[number % 6]
        label = "" if part == "unused" else "ab"[(number // 6) % 2]
        rows.append({"split": part, "path": f"{number}.png", "label": label, "year": 2020 + number % 2})
    file = folder / f"all.{kind}"
    match kind:
        case "csv":
            lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
            file.write_text("\n".join(lines))
        case "jsonl":
            file.write_text("\n".join(map(json.dumps, rows)))
        case _:
            pq.write_table(pa.Table.from_pylist(rows), file)
    return file.name


def source(uri: str, *values: str, column: str = "split") -> dict[str, Any]:
    return {"uri": uri, "rows": {"column": column, "values": list(values)}}


def numbers(inputs: tuple[str, ...]) -> list[int]:
    return [int(Path(each).stem) for each in inputs]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_each_part_gets_its_rows(kind: str, tmp_path: Path) -> None:
    """In the table's order, with their labels; what other rows lack does not matter."""
    uri = write_table(tmp_path, kind)
    found = scan(tmp_path, train=source(uri, "train"), validation=source(uri, "val"), test=source(uri, "test"))
    for name, part in (("train", "train"), ("validation", "val"), ("test", "test")):
        split = found.index.splits[name]
        assert numbers(split.inputs) == [number for number in range(36) if PARTS[number % 6] == part]
        assert split.targets.tolist() == [(number // 6) % 2 for number in numbers(split.inputs)]
    assert found.warnings == ()
    assert found.unreadable == ()


def test_several_values_and_other_columns(tmp_path: Path) -> None:
    """Of any type, beside columns of weights and slices, and split further by a fraction."""
    uri = write_table(tmp_path, "parquet")
    found = scan(
        tmp_path,
        train=source(uri, "train", "val"),
        validation={"fraction": 0.25},
        test=source(uri, "test"),
        weightColumn="year",
        slices=["year"],
    )
    drawn = [*found.index.splits["train"].inputs, *found.index.splits["validation"].inputs]
    assert sorted(numbers(tuple(drawn))) == [n for n in range(36) if PARTS[n % 6] in {"train", "val"}]
    test = found.index.splits["test"]
    assert list(test.slices["year"]) == [str(2020 + number % 2) for number in numbers(test.inputs)]
    labelled = tmp_path / "labelled.csv"
    labelled.write_text("path,label,year\n" + "\n".join(f"{n}.png,{'ab'[n % 2]},{2020 + n % 3}" for n in range(36)))
    by_year = scan(tmp_path, train=source("labelled.csv", "2020", "2021", column="year"))
    assert sum(len(split) for split in by_year.index.splits.values()) == 24


@pytest.mark.parametrize(
    ("choice", "where", "expected", "fix"),
    [
        ({"column": "split", "values": ["train", "vall"]}, "rows.values[1]", "'train' (18 rows)", "Did you mean `val`"),
        ({"column": "splits", "values": ["train"]}, "rows.column", "split, path", "Did you mean `split`"),
    ],
)
def test_a_choice_of_nothing_is_named(choice: Any, where: str, expected: str, fix: str, tmp_path: Path) -> None:
    """A value that no row has, and a column that is not there, with what there is."""
    uri = write_table(tmp_path, "csv")
    with pytest.raises(SpecError) as caught:
        scan(tmp_path, train={"uri": uri, "rows": choice})
    (problem,) = caught.value.problems
    assert (problem.where, expected in problem.expected) == (f"spec.data.train.{where}", True)
    assert fix in problem.fix


def test_folders_have_no_rows(tmp_path: Path) -> None:
    """They are told apart from tables before anything is read."""
    write_folder(tmp_path / "train", {"a": 6, "b": 6})
    with pytest.raises(SpecError) as caught:
        scan(tmp_path, train=source("train", "x"))
    (problem,) = caught.value.problems
    assert (problem.where, "split" in problem.expected) == ("spec.data.train.uri", True)


def test_parts_that_nobody_asked_for_are_told(tmp_path: Path) -> None:
    """A column that names them, by name and values; not just any column, and not where rows are chosen."""
    write_table(tmp_path, "csv")
    header, *rows = (tmp_path / "all.csv").read_text().replace(",,", ",a,").splitlines()
    labelled = "\n".join([header, *reversed(rows)])
    (tmp_path / "all.csv").write_text(labelled.replace("unused,", "test,"))
    (warning,) = scan(tmp_path, train={"uri": "all.csv"}).warnings
    assert warning.startswith("spec.data.train: the column 'split'")
    assert "`rows: {column: split, values: [train]}`" in warning
    assert scan(tmp_path, train=source("all.csv", "train")).warnings == ()
    (tmp_path / "all.csv").write_text(labelled.replace("split,", "group,").replace("unused,", "test,"))
    assert scan(tmp_path, train={"uri": "all.csv"}).warnings == ()
    (tmp_path / "all.csv").write_text(labelled.replace("unused,", "spare,"))
    assert scan(tmp_path, train={"uri": "all.csv"}).warnings == ()
