"""`graft batch-predict` on a real bundle."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from graftwork.bundle.directory import Bundle
from graftwork.cli.main import cli
from graftwork.data_files.tables import read_table
from graftwork.preprocess.image import ImageSpec, decode_image
from tests.integration.serving.conftest import GRAFT
from tests.support.bundles import SMALL_LABELS, SMALL_SIDE, picture_bytes, small_model

pytestmark = pytest.mark.integration

_PICTURES = 70
_SPEC = ImageSpec(height=SMALL_SIDE, width=SMALL_SIDE)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pictures, in the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAFT_HOME", str(tmp_path / "home"))
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(_PICTURES):
        (folder / f"{number:03}.png").write_bytes(picture_bytes(seed=number))
    return folder


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["batch-predict", *arguments])


def test_answers_are_the_trained_model_s(photos: Path, small_bundle: Bundle) -> None:
    """What Keras says of every picture, one by one."""
    done = _run(str(small_bundle.path), "photos", "answers.csv", "--scores")
    assert done.exit_code == 0, done.output
    columns = ["file", "predicted_label", "predicted_score", *(f"score_{label}" for label in SMALL_LABELS), "error"]
    table = read_table(Path("answers.csv"), "csv", columns)
    assert list(table.columns) == columns
    files = sorted(photos.iterdir())
    assert [row.values[0] for row in table.rows] == [file.name for file in files]
    pixels = np.stack([decode_image(file.read_bytes(), _SPEC) for file in files])
    expected = small_model(seed=0).predict(pixels, verbose=0)
    found = np.asarray([[float(cell) for cell in row.values[3:6]] for row in table.rows])
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert [row.values[1] for row in table.rows] == [SMALL_LABELS[index] for index in found.argmax(axis=1)]
    assert {row.values[-1] for row in table.rows} == {""}
    assert len({row.values[1] for row in table.rows}) > 1


def test_one_bad_picture_is_a_row_with_its_reason(photos: Path, small_bundle: Bundle) -> None:
    """The others are answered, and it is told."""
    (photos / "010.png").write_bytes(b"no picture")
    done = _run(str(small_bundle.path), "photos", "answers.jsonl", "-o", "json")
    assert done.exit_code == 0, done.output
    assert '"failed": 1' in done.stdout
    assert "010.png: the bytes are no picture" in done.output
    rows = read_table(Path("answers.jsonl"), "jsonl", ["file", "predicted_label", "error"]).rows
    assert rows[10].values == ("010.png", "", "the bytes are no picture in a known format")
    assert all(row.values[1] and not row.values[2] for row in rows if row.number != 11)


def test_files_that_are_no_pictures_by_name_are_told(photos: Path, small_bundle: Bundle) -> None:
    """A phone's pictures in a format that is not read are missed otherwise: they have no row."""
    for name in ("IMG_1.HEIC", "notes.txt"):
        (photos / name).write_bytes(b"x")
    done = _run(str(small_bundle.path), "photos", "answers.csv")
    assert done.exit_code == 0, done.output
    told = "Warning: 2 files have no row, because their names do not end like those of pictures: IMG_1.HEIC, notes.txt"
    assert told in done.output
    assert len(read_table(Path("answers.csv"), "csv", ["file"]).rows) == _PICTURES


def test_where_nothing_can_be_used_nothing_is_written(photos: Path, small_bundle: Bundle) -> None:
    """A table of errors alone would pass for a result."""
    for file in photos.iterdir():
        file.write_bytes(b"no picture")
    done = _run(str(small_bundle.path), "photos", "answers.csv")
    assert done.exit_code == 1
    assert f"None of {_PICTURES} examples could be used. The first: 000.png: the bytes" in done.output
    assert not Path("answers.csv").exists()


def test_an_older_result_is_replaced_only_if_asked(photos: Path, small_bundle: Bundle) -> None:
    """It may have taken a night."""
    Path("answers.csv").write_text("precious")
    done = _run(str(small_bundle.path), "photos", "answers.csv")
    assert done.exit_code == 2
    assert "answers.csv, which exists, expected a new file. Name another one, or add --overwrite." in done.output
    assert Path("answers.csv").read_text() == "precious"
    assert _run(str(small_bundle.path), "photos", "answers.csv", "--overwrite").exit_code == 0
    assert Path("answers.csv").read_text().startswith("file,predicted_label")


def test_columns_of_the_table_stay(photos: Path, small_bundle: Bundle) -> None:
    """Beside the answers'; one of the same name is refused, and so is another kind of result."""
    Path("t.csv").write_text("id,path\n7,photos/001.png\n8,photos/000.png\n")
    done = _run(str(small_bundle.path), "t.csv", "answers.csv")
    assert done.exit_code == 0, done.output
    table = read_table(Path("answers.csv"), "csv", ["id", "path"])
    assert table.columns == ("id", "path", "predicted_label", "predicted_score", "error")
    assert [row.values for row in table.rows] == [("7", "photos/001.png"), ("8", "photos/000.png")]
    again = _run(str(small_bundle.path), "answers.csv", "more.csv")
    assert again.exit_code == 2
    assert "DATA: received a table with the column predicted_label and predicted_score and error" in again.output
    for result in ("answers.xlsx", "s3://bucket/answers.csv", "file.csv::x.csv", str(Path("t.csv").absolute())):
        refused = _run(str(small_bundle.path), "t.csv", result, "--overwrite")
        assert refused.exit_code == 2, refused.output
        assert refused.output.startswith("RESULT: received ")
    assert Path("t.csv").read_text().startswith("id,path")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_goes_on_where_it_was(photos: Path, small_bundle: Bundle, number: signal.Signals) -> None:
    """There is no part of a result; the same command ends with what an undisturbed one gives."""
    rows = "\n".join(f"photos/{index % _PICTURES:03}.png" for index in range(20_000))
    Path("t.csv").write_text(f"path\n{rows}\n")
    assert _run(str(small_bundle.path), "t.csv", "undisturbed.csv").exit_code == 0
    kept = Path("out", "answers.csv.unfinished")
    command = [*GRAFT, "batch-predict", str(small_bundle.path), "t.csv", "out/answers.csv"]
    process = subprocess.Popen(
        ["env", "--default-signal=INT", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while not (kept.is_file() and kept.stat().st_size > 20_000):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    said, told = process.communicate(timeout=60)
    assert [*kept.parent.iterdir()] == [kept]
    if number != signal.SIGKILL:
        assert process.returncode == 130
        assert "of 20,000 answers are kept in" in said.decode()
        assert told.decode().endswith("Interrupted.\n")
    others = _run(str(small_bundle.path), "photos", "out/answers.csv")
    assert others.exit_code == 2
    assert "answers to other examples, of another model" in others.output
    went_on = _run(str(small_bundle.path), "t.csv", "out/answers.csv")
    assert went_on.exit_code == 0, went_on.output
    assert "going on after" in went_on.output
    assert [each.name for each in kept.parent.iterdir()] == ["answers.csv"]
    assert Path("out", "answers.csv").read_text() == Path("undisturbed.csv").read_text()
