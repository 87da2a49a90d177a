"""Which pictures become golden examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graftwork.errors import SpecError
from graftwork.preprocess.image import ImageSpec
from graftwork_jobs.export import golden
from graftwork_jobs.export.golden import GoldenCandidate, pick_golden
from tests.support.small_bundles import picture

IMAGE = ImageSpec(height=8, width=8)


def candidates(folder: Path, *, labels: list[str], each: int) -> list[GoldenCandidate]:
    """Readable pictures, so many of each class."""
    made = []
    for index, label in enumerate(labels):
        for number in range(each):
            file = folder / f"{label}-{number}.png"
            file.write_bytes(picture(100 * index + number))
            made.append(GoldenCandidate(input=str(file), label=label, group=label))
    return made


def test_classes_take_turns(tmp_path: Path) -> None:
    """With few classes, eight pictures are spread as evenly as they can be."""
    picks = pick_golden(candidates(tmp_path, labels=["a", "b", "c"], each=9), IMAGE, Path)
    assert [pick.label for pick in picks] == ["a", "b", "c", "a", "b", "c", "a", "b"]


def test_many_classes_are_sampled_from_end_to_end(tmp_path: Path) -> None:
    """With more classes than examples, eight different ones are shown, the first and the last among them."""
    labels = [f"c{index:02}" for index in range(20)]
    picks = pick_golden(candidates(tmp_path, labels=labels, each=1), IMAGE, Path)
    shown = [pick.label for pick in picks]
    assert len(set(shown)) == 8
    assert {labels[0], labels[-1]} <= set(shown)


def test_small_classes_give_way_to_others(tmp_path: Path) -> None:
    """A class without enough pictures leaves its turns to the others."""
    made = candidates(tmp_path, labels=["a"], each=1) + candidates(tmp_path, labels=["b"], each=9)
    picks = pick_golden(made, IMAGE, Path)
    assert [pick.label for pick in picks] == ["a"] + ["b"] * 7


def test_order_of_candidates_makes_no_difference(tmp_path: Path) -> None:
    """The same pictures give the same picks."""
    made = candidates(tmp_path, labels=["a", "b"], each=9)
    shuffled = [made[index] for index in np.random.default_rng(0).permutation(len(made))]
    first, second = (pick_golden(given, IMAGE, Path) for given in (made, shuffled))
    assert [pick.content for pick in first] == [pick.content for pick in second]


def test_a_pick_is_the_file_as_it_is(tmp_path: Path) -> None:
    """Serving reads it as if a client had sent it."""
    (pick,) = pick_golden(candidates(tmp_path, labels=["a"], each=1), IMAGE, Path)
    assert pick.content == (tmp_path / "a-0.png").read_bytes()


def test_unreadable_picture_is_passed_over(tmp_path: Path) -> None:
    """The next picture of the class takes its place."""
    made = candidates(tmp_path, labels=["a"], each=2)
    Path(made[0].input).write_bytes(b"no picture")
    picks = pick_golden(made, IMAGE, Path)
    assert [pick.content for pick in picks] == [Path(made[1].input).read_bytes()]


def test_large_file_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Golden examples are decoded at every start of a replica: small files are preferred."""
    made = candidates(tmp_path, labels=["a"], each=2)
    sizes = [Path(candidate.input).stat().st_size for candidate in made]
    with Path(made[0].input).open("ab") as stream:
        stream.write(bytes(100))
    monkeypatch.setattr(golden, "_LARGE_FILE_BYTES", max(sizes))
    picks = pick_golden(made, IMAGE, Path)
    assert [pick.content for pick in picks] == [Path(made[1].input).read_bytes()]


def test_smallest_of_large_files_is_better_than_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set of camera photos still gets a golden example."""
    made = candidates(tmp_path, labels=["a"], each=3)
    for index, candidate in enumerate(made):
        with Path(candidate.input).open("ab") as stream:
            stream.write(bytes(1000 * (3 - index)))
    monkeypatch.setattr(golden, "_LARGE_FILE_BYTES", 10)
    (pick,) = pick_golden(made, IMAGE, Path)
    assert pick.content == Path(made[2].input).read_bytes()


def test_no_readable_picture_is_an_error(tmp_path: Path) -> None:
    """A bundle without golden examples could not be checked."""
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(SpecError, match=r"x\.png: the bytes are no picture"):
        pick_golden([GoldenCandidate(input=str(tmp_path / "x.png"), label="a", group="a")], IMAGE, Path)


def test_remote_pictures_are_located_first(tmp_path: Path) -> None:
    """A URI is turned into a local file by the caller's function."""
    (tmp_path / "file.png").write_bytes(picture(1))
    made = [GoldenCandidate(input="s3://bucket/a/file.png", label="a", group="a")]
    (pick,) = pick_golden(made, IMAGE, lambda uri: tmp_path / Path(uri).name)
    assert pick.name == "0.png"
