"""Scanning data: what is found, what is refused, and what a user is told."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from graftwork.errors import Problem, SpecError
from graftwork_jobs.data import fingerprint
from graftwork_jobs.data.audit import leaked_counts
from tests.unit.jobs.data.pictures import LONG_AGO_S, scan, write_folder, write_picture

COUNTS = {"cat": 6, "dog": 5}


def problems_of(base_dir: Path, **data: Any) -> list[Problem]:
    with pytest.raises(SpecError) as caught:
        scan(base_dir, **data)
    return list(caught.value.problems)


def only_problem_of(base_dir: Path, **data: Any) -> Problem:
    problems = problems_of(base_dir, **data)
    assert len(problems) == 1, problems
    return problems[0]


class TestSources:
    """Where pictures may come from."""

    def test_folder_with_fractions(self, tmp_path: Path) -> None:
        """Sub-folders become classes, and each fraction takes its share of each."""
        write_folder(tmp_path / "train", {"cat": 20, "dog": 10})
        found = scan(tmp_path, train={"uri": "train"}, validation={"fraction": 0.2}, test={"fraction": 0.1})
        assert found.index.labels == ("cat", "dog")
        assert found.counts == {
            "train": {"cat": 14, "dog": 7},
            "validation": {"cat": 4, "dog": 2},
            "test": {"cat": 2, "dog": 1},
        }
        assert found.imbalance == 2
        assert not found.warnings

    def test_sources_of_their_own(self, tmp_path: Path) -> None:
        """Validation, test and further test sets may each name their data; splits keep that order."""
        for number, name in enumerate(("train", "validation", "test", "phone")):
            write_folder(tmp_path / name, COUNTS, first=100 * number)
        found = scan(
            tmp_path,
            train={"uri": "train"},
            validation={"uri": "validation"},
            test={"uri": str(tmp_path / "test")},
            extraTests=[{"name": "phone", "uri": "phone"}],
        )
        assert list(found.index.splits) == ["train", "validation", "test", "phone"]
        assert all(counts == COUNTS for counts in found.counts.values())

    def test_folder_takes_nested_pictures_and_ignores_the_rest(self, tmp_path: Path) -> None:
        """Pictures in deeper folders count; hidden files do not exist; other files are told as ignored."""
        write_folder(tmp_path / "train", COUNTS)
        write_picture(tmp_path / "train" / "cat" / "more" / "deep.PNG", 900)
        write_picture(tmp_path / "train" / ".cache" / "hidden.png", 901)
        write_picture(tmp_path / "train" / "loose.png", 902)
        for name in ("cat/.DS_Store", "cat/Thumbs.db", "dog/notes.txt"):
            (tmp_path / "train" / name).write_text("no picture")
        found = scan(tmp_path, train={"uri": "train"})
        assert sum(counts["cat"] for counts in found.counts.values()) == 7
        assert found.index.labels == ("cat", "dog")
        (warning,) = found.warnings
        assert "3 files ignored" in warning
        assert all(name in warning for name in ("cat/Thumbs.db", "dog/notes.txt", "loose.png"))

    def test_links_are_followed_but_not_round_in_circles(self, tmp_path: Path) -> None:
        """A linked folder counts; a link back up does not."""
        write_folder(tmp_path / "elsewhere", {"cat": 4})
        write_folder(tmp_path / "train", {"dog": 4})
        (tmp_path / "train" / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
        (tmp_path / "train" / "dog" / "up").symlink_to(tmp_path / "train")
        assert scan(tmp_path, train={"uri": "train"}).index.labels == ("cat", "dog")

    @pytest.mark.parametrize("kind", ["csv", "parquet"])
    def test_manifest(self, tmp_path: Path, kind: str) -> None:
        """Manifests name pictures relative to themselves, under column names of the user's."""
        write_folder(tmp_path / "set" / "files", COUNTS)
        rows = [
            (f"files/{label}/{position:03}.png", f"the {label}")
            for label, count in COUNTS.items()
            for position in range(count)
        ]
        if kind == "csv":
            text = "file,id,kind\n" + "".join(f"{path},7,{label}\n" for path, label in rows)
            (tmp_path / "set" / "list.csv").write_text("\ufeff" + text)
        else:
            table = pa.table({"file": [path for path, _ in rows], "kind": [label for _, label in rows]})
            pq.write_table(table, tmp_path / "set" / "list.parquet")
        found = scan(tmp_path, train={"uri": f"set/list.{kind}", "pathColumn": "file", "labelColumn": "kind"})
        assert found.index.labels == ("the cat", "the dog")
        assert sum(map(len, found.index.splits.values())) == 11

    def test_numbers_as_labels(self, tmp_path: Path) -> None:
        """Parquet labels may be integers; they become names."""
        paths = [str(write_picture(tmp_path / f"{number}.png", number)) for number in range(6)]
        pq.write_table(pa.table({"path": paths, "label": [0, 0, 0, 1, 1, 1]}), tmp_path / "list.parquet")
        assert scan(tmp_path, train={"uri": "list.parquet"}).index.labels == ("0", "1")

    def test_zip_archive(self, tmp_path: Path) -> None:
        """A folder inside a zip file works like any other remote folder."""
        write_folder(tmp_path / "plain", COUNTS)
        with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
            for path in sorted((tmp_path / "plain").rglob("*.png")):
                archive.write(path, f"inner/{path.relative_to(tmp_path / 'plain')}")
        uri = f"zip://inner::file://{tmp_path / 'data.zip'}"
        assert scan(tmp_path, train={"uri": uri}).index.digest == scan(tmp_path, train={"uri": "plain"}).index.digest


class TestRemote:
    """Data behind a URI."""

    @pytest.fixture
    def store(self) -> Iterator[fsspec.AbstractFileSystem]:
        """An object store in memory."""
        store = fsspec.filesystem("memory")
        yield store
        store.rm("/", recursive=True)

    def upload(self, store: fsspec.AbstractFileSystem, folder: Path, prefix: str) -> None:
        """Copy a local folder there."""
        for path in sorted(folder.rglob("*.png")):
            store.pipe_file(f"{prefix}/{path.relative_to(folder)}", path.read_bytes())

    def test_same_pictures_give_the_same_index(self, tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
        """Remote data is split and digested like its local copy."""
        self.upload(store, write_folder(tmp_path / "plain", COUNTS), "/bucket/set")
        remote = scan(tmp_path, train={"uri": "memory://bucket/set"})
        assert remote.index.digest == scan(tmp_path, train={"uri": "plain"}).index.digest
        assert all(uri.startswith("memory://bucket/set/") for uri in remote.index.splits["train"].inputs)

    def test_manifest_beside_its_pictures(self, tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
        """Relative paths in a remote manifest start at the manifest."""
        self.upload(store, write_folder(tmp_path / "plain", COUNTS), "/bucket/set")
        lines = [f"{label}/{row:03}.png,{label}" for label, count in COUNTS.items() for row in range(count)]
        store.pipe_file("/bucket/set/list.csv", "\n".join(["path,label", *lines]).encode())
        assert scan(tmp_path, train={"uri": "memory://bucket/set/list.csv"}).index.labels == ("cat", "dog")

    def test_changed_remote_picture_is_fetched_again(self, tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
        """A scan sees that a remote file has changed since its copy was made."""
        self.upload(store, write_folder(tmp_path / "plain", COUNTS), "/bucket/set")
        before = scan(tmp_path, train={"uri": "memory://bucket/set"})
        store.pipe_file("/bucket/set/cat/000.png", write_picture(tmp_path / "new.png", 999).read_bytes())
        assert scan(tmp_path, train={"uri": "memory://bucket/set"}).index.digest != before.index.digest

    @pytest.mark.parametrize("uri", ["memory://bucket/nothing", "memory://bucket/nothing.csv"])
    def test_missing(self, tmp_path: Path, uri: str) -> None:
        """A remote folder or manifest that does not exist is named."""
        problem = only_problem_of(tmp_path, train={"uri": uri})
        assert problem.where == "spec.data.train.uri"
        assert "does not exist" in problem.received

    def test_unknown_protocol(self, tmp_path: Path) -> None:
        """A protocol nobody knows is a problem of the spec, not a crash."""
        problem = only_problem_of(tmp_path, train={"uri": "carrierpigeon://coop/data"})
        assert "carrierpigeon" in problem.received


class TestRefused:
    """Data that cannot be used."""

    def test_missing_path_suggests_near_names(self, tmp_path: Path) -> None:
        """A mistyped folder gets the one that was probably meant."""
        write_folder(tmp_path / "flowers", COUNTS)
        problem = only_problem_of(tmp_path, train={"uri": "flowres"})
        assert problem.where == "spec.data.train.uri"
        assert str(tmp_path / "flowers") in problem.fix

    def test_missing_path_suggests_near_names_further_up(self, tmp_path: Path) -> None:
        """The mistyped part may be in the middle of the path."""
        write_folder(tmp_path / "data" / "flowers", COUNTS)
        assert str(tmp_path / "data") in only_problem_of(tmp_path, train={"uri": "date/flowers"}).fix

    def test_everything_is_told_at_once(self, tmp_path: Path) -> None:
        """Problems of all sources come in one error."""
        (write_folder(tmp_path / "train", COUNTS) / "cat" / "bad.png").write_text("no picture")
        (tmp_path / "train" / "fish").mkdir()
        write_folder(tmp_path / "test", {"cow": 1}, first=50)
        problems = problems_of(
            tmp_path,
            train={"uri": "train"},
            validation={"uri": "gone"},
            test={"uri": "test"},
            extraTests=[{"name": "more", "uri": "gone too"}],
        )
        assert sorted(problem.where for problem in problems) == [
            "spec.data.extraTests[0].uri",
            "spec.data.test.uri",
            "spec.data.train.uri",
            "spec.data.train.uri",
            "spec.data.validation.uri",
        ]

    def test_no_sub_folders(self, tmp_path: Path) -> None:
        """Pictures without class folders are explained."""
        write_picture(tmp_path / "train" / "a.png", 1)
        assert "no sub-folder" in only_problem_of(tmp_path, train={"uri": "train"}).received

    def test_no_pictures(self, tmp_path: Path) -> None:
        """Class folders without any picture are one problem, not one for each."""
        for label in ("cat", "dog"):
            (tmp_path / "train" / label).mkdir(parents=True)
        assert "no picture" in only_problem_of(tmp_path, train={"uri": "train"}).received

    def test_empty_class(self, tmp_path: Path) -> None:
        """An empty class folder is named."""
        write_folder(tmp_path / "train", {**COUNTS, "fish": 0})
        assert "fish" in only_problem_of(tmp_path, train={"uri": "train"}).received

    def test_single_class(self, tmp_path: Path) -> None:
        """One class cannot be told from nothing."""
        write_folder(tmp_path / "train", {"cat": 9})
        assert "single class, cat" in only_problem_of(tmp_path, train={"uri": "train"}).received

    def test_class_too_small_to_split(self, tmp_path: Path) -> None:
        """A class needs a picture for each split by fraction; identical pictures are one."""
        write_folder(tmp_path / "train", {**COUNTS, "fish": 2})
        copy = tmp_path / "train" / "fish" / "copy.png"
        copy.write_bytes((tmp_path / "train" / "fish" / "000.png").read_bytes())
        problem = only_problem_of(tmp_path, train={"uri": "train"})
        assert "fish (2)" in problem.received
        assert "at least 3" in problem.expected
        assert "regression" not in problem.fix

    def test_numbers_for_classes(self, tmp_path: Path) -> None:
        """Whoever names a column of amounts is told of regression; a few numbers may be classes."""
        for first, is_told in ((0.5, True), (4.5, False)):
            labels = [f"{max(first, number - 10 + 0.5)}" for number in range(35)]
            rows = [
                f"{write_picture(tmp_path / f'{number}.png', number)},{label}" for number, label in enumerate(labels)
            ]
            (tmp_path / "all.csv").write_text("\n".join(["path,label", *rows[: 35 if is_told else 18]]))
            problem = only_problem_of(tmp_path, train={"uri": "all.csv"})
            assert ("`task: image-regression`" in problem.fix) is is_told, first

    @pytest.mark.parametrize("split", ["validation", "test"])
    def test_label_unknown_to_training(self, tmp_path: Path, split: str) -> None:
        """A class that training has never seen is named, with the likely spelling."""
        write_folder(tmp_path / "train", COUNTS)
        write_folder(tmp_path / "other", {"cat": 2, "Dog": 3}, first=50)
        problem = only_problem_of(tmp_path, train={"uri": "train"}, **{split: {"uri": "other"}})
        assert problem.where == f"spec.data.{split}.uri"
        assert "class Dog (3 pictures)" in problem.received
        assert "`dog`" in problem.fix

    def test_unknown_columns(self, tmp_path: Path) -> None:
        """A column that the manifest does not have is answered with those it has."""
        (tmp_path / "list.csv").write_text("file,labels\na.png,cat\n")
        first, second = problems_of(tmp_path, train={"uri": "list.csv"})
        assert first.where == "spec.data.train.pathColumn"
        assert "file, labels" in first.expected
        assert second.where == "spec.data.train.labelColumn"
        assert "labels" in second.fix

    def test_missing_values(self, tmp_path: Path) -> None:
        """Rows without path or label are given by line number."""
        for number in range(6):
            write_picture(tmp_path / f"{number}.png", number)
        lines = [
            "path,label",
            "0.png,cat",
            "1.png,cat",
            "2.png,cat",
            "3.png,dog",
            "4.png,dog",
            "5.png,dog",
            ",cat",
            "4.png,",
        ]
        (tmp_path / "list.csv").write_text("\n".join(lines))
        problem = only_problem_of(tmp_path, train={"uri": "list.csv"})
        assert "line 8, 9" in problem.received
        assert "onIncompleteRow: skip" in problem.fix
        found = scan(tmp_path, train={"uri": "list.csv"}, onIncompleteRow="skip")
        assert sum(sum(each.values()) for each in found.counts.values()) == 6
        table = tmp_path / "list.csv"
        assert found.unreadable == ((f"{table} line 8", "nothing in path"), (f"{table} line 9", "nothing in label"))
        assert "2 rows lack values and are left out." in found.warnings

    def test_no_whole_row(self, tmp_path: Path) -> None:
        """Where nothing would be left, rows that lack something are refused whatever the spec says."""
        (tmp_path / "list.csv").write_text("path,label\na.png,\n,cat\n")
        problem = next(iter(problems_of(tmp_path, train={"uri": "list.csv"}, onIncompleteRow="skip")))
        assert "an empty cell in line 2, 3" in problem.received

    @pytest.mark.parametrize(("name", "content"), [("a.csv", b"path,label\n\xff\xfe,x\n"), ("a.parquet", b"PAR0")])
    def test_damaged_manifest(self, tmp_path: Path, name: str, content: bytes) -> None:
        """A manifest that is no text or no Parquet file is a problem of the spec."""
        (tmp_path / name).write_bytes(content)
        assert only_problem_of(tmp_path, train={"uri": name}).where == "spec.data.train.uri"


class TestBadPictures:
    """Pictures that cannot be read."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Good pictures of two classes and three bad ones."""
        write_folder(tmp_path / "train", {"cat": 8, "dog": 8})
        whole = (tmp_path / "train" / "cat" / "000.png").read_bytes()
        for name, content in (("empty", b""), ("text", b"I am text\n"), ("cut", whole[: len(whole) // 2])):
            (tmp_path / "train" / "cat" / f"{name}.png").write_bytes(content)
        return tmp_path

    def test_each_is_named_with_its_reason(self, folder: Path) -> None:
        """Zero bytes, text and truncation are told apart."""
        received = [problem.received for problem in problems_of(folder, train={"uri": "train"})]
        assert len(received) == 3
        assert any("empty.png" in text and "0 bytes" in text for text in received)
        assert any("text.png" in text and "no picture" in text for text in received)
        assert any("cut.png" in text and "damaged" in text for text in received)

    def test_many_are_counted(self, folder: Path) -> None:
        """After twenty names there is a count."""
        for number in range(30):
            (folder / "train" / "dog" / f"bad{number}.png").write_bytes(b"")
        problems = problems_of(folder, train={"uri": "train"})
        assert len(problems) == 21
        assert "13 more" in problems[-1].received

    def test_skip_leaves_them_out_and_says_so(self, folder: Path) -> None:
        """With onBadImage skip the rest is used."""
        found = scan(folder, train={"uri": "train"}, onBadImage="skip")
        assert len(found.unreadable) == 3
        assert sum(counts["cat"] for counts in found.counts.values()) == 8
        assert any("3 pictures cannot be read" in warning for warning in found.warnings)

    def test_skip_can_empty_a_class(self, tmp_path: Path) -> None:
        """A class that has only bad pictures is refused even then."""
        write_folder(tmp_path / "train", COUNTS)
        (tmp_path / "train" / "fish").mkdir()
        (tmp_path / "train" / "fish" / "bad.png").write_bytes(b"")
        assert "fish (0)" in only_problem_of(tmp_path, train={"uri": "train"}, onBadImage="skip").received

    def test_manifest_entry_without_file(self, tmp_path: Path) -> None:
        """A manifest may name pictures that are not there: each is told."""
        lines = [
            f"{write_picture(tmp_path / f'{row}.png', row).name},{'cat' if row < 4 else 'dog'}" for row in range(8)
        ]
        (tmp_path / "list.csv").write_text("\n".join(["path,label", *lines, "gone.png,dog"]))
        problem = only_problem_of(tmp_path, train={"uri": "list.csv"})
        assert "gone.png" in problem.received
        assert "list.csv line 10): there is no such file" in problem.received
        assert problem.fix == "Correct the path, or set spec.data.onBadImage: skip."

    def test_manifest_entry_with_backslashes(self, tmp_path: Path) -> None:
        """A path as Windows writes it names no file; what tables want is said."""
        write_folder(tmp_path / "train", COUNTS)
        lines = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in tmp_path.rglob("*.png")]
        (tmp_path / "list.csv").write_text("\n".join(["path,label", *lines, "train\\cat\\0.png,cat"]))
        assert "forward slashes" in only_problem_of(tmp_path, train={"uri": "list.csv"}).fix

    def test_a_missing_table_is_not_taken_for_a_file_of_another_kind(self, tmp_path: Path) -> None:
        """Names of specs and scripts beside it are no proposals."""
        (tmp_path / "pictures.yaml").write_text("")
        assert "Check the path" in only_problem_of(tmp_path, train={"uri": "pictures.csv"}).fix
        (tmp_path / "picture.csv").write_text("path,label\n")
        assert "picture.csv" in only_problem_of(tmp_path, train={"uri": "pictures.csv"}).fix

    def test_parts_of_a_data_set_are_no_classes(self, tmp_path: Path) -> None:
        """A root with train/ and test/ would train a model that tells the two apart."""
        for part in ("Train", "test"):
            write_folder(tmp_path / "all" / part, {"cat": 8, "dog": 8}, first=100 * len(part))
        problem = only_problem_of(tmp_path, train={"uri": "all"})
        assert "Train and test" in problem.received
        assert "`train: {uri: all/Train}`" in problem.fix

    def test_floating_point_numbers_are_no_picture(self, tmp_path: Path) -> None:
        """Their range is anyone's guess; taken for 0..255 they are black."""
        write_folder(tmp_path / "train", COUNTS)
        Image.fromarray(np.random.default_rng(0).random((8, 8), np.float32)).save(tmp_path / "train" / "cat" / "x.tiff")
        assert "8 or 16 bits a channel" in only_problem_of(tmp_path, train={"uri": "train"}).received


class TestWarnings:
    """What a user should know although training can start."""

    def test_sub_folders_that_may_be_the_classes(self, tmp_path: Path) -> None:
        """Every class folder with the same ones is told; folders below only some of them are nobody's business."""
        for place, shop in enumerate(("north", "south")):
            write_folder(tmp_path / "shops" / shop, {"cat": 8, "dog": 8}, first=100 * place)
        assert any("(cat, dog)" in warning for warning in scan(tmp_path, train={"uri": "shops"}).warnings)
        write_folder(tmp_path / "shops" / "west", {"cat": 8, "bird": 8}, first=300)
        assert not any("same sub-folders" in warning for warning in scan(tmp_path, train={"uri": "shops"}).warnings)

    def test_leak_between_sources(self, tmp_path: Path) -> None:
        """A file that is in training and test data is a leak, whatever its name."""
        write_folder(tmp_path / "train", COUNTS)
        write_folder(tmp_path / "test", COUNTS, first=50)
        original = tmp_path / "train" / "cat" / "002.png"
        copy = tmp_path / "test" / "cat" / "renamed.png"
        copy.write_bytes(original.read_bytes())
        found = scan(tmp_path, train={"uri": "train"}, validation={"uri": "test"}, test={"uri": "test"})
        leak = next(leak for leak in found.leaks if "train" in leak.splits)
        assert set(leak.places) == {str(original), str(copy)}
        assert leak.splits == ("train", "validation", "test")
        assert any("1 picture identical in train and validation and test" in warning for warning in found.warnings)

    def test_leaked_examples_are_counted_by_test_set(self, tmp_path: Path) -> None:
        """Every example counts, copies of the same content too; what only test sets share is none."""
        write_folder(tmp_path / "train", COUNTS)
        for name in ("test", "other"):
            write_folder(tmp_path / name, COUNTS, first=50)
        for number in range(2):
            copy = tmp_path / "test" / "cat" / f"copy{number}.png"
            copy.write_bytes((tmp_path / "train" / "cat" / "002.png").read_bytes())
        found = scan(
            tmp_path,
            train={"uri": "train"},
            validation={"fraction": 0.2},
            test={"uri": "test"},
            extraTests=[{"name": "other", "uri": "other"}],
        )
        digests = {name: split.digests for name, split in found.index.splits.items()}
        assert leaked_counts(found.leaks, digests) == {"test": 2}

    def test_splitting_by_fraction_never_leaks(self, tmp_path: Path) -> None:
        """Copies within the training data go to one split; they are told as repetitions."""
        write_folder(tmp_path / "train", {"cat": 12, "dog": 12})
        for row in range(6):
            copy = tmp_path / "train" / "cat" / f"copy{row}.png"
            copy.write_bytes((tmp_path / "train" / "cat" / f"{row:03}.png").read_bytes())
        for seed in range(5):
            found = scan(
                tmp_path, seed=seed, train={"uri": "train"}, validation={"fraction": 0.3}, test={"fraction": 0.3}
            )
            assert not found.leaks

    def test_one_picture_with_two_labels(self, tmp_path: Path) -> None:
        """The same content under two classes is told with both names."""
        write_folder(tmp_path / "train", COUNTS)
        (tmp_path / "train" / "dog" / "x.png").write_bytes((tmp_path / "train" / "cat" / "000.png").read_bytes())
        (warning, *_) = [
            text for text in scan(tmp_path, train={"uri": "train"}).warnings if "more than one label" in text
        ]
        assert "(cat)" in warning
        assert "(dog)" in warning

    def test_imbalance(self, tmp_path: Path) -> None:
        """A class ten times as large as another is worth a word."""
        write_folder(tmp_path / "train", {"cat": 40, "dog": 4})
        found = scan(tmp_path, train={"uri": "train"}, validation={"fraction": 0.25}, test={"fraction": 0.25})
        assert found.imbalance == pytest.approx(10)
        assert any("imbalance" in warning.lower() for warning in found.warnings)

    def test_weights_may_make_up_for_imbalance(self, tmp_path: Path) -> None:
        """Class weights besides are not advised then."""
        write_folder(tmp_path / "train", {"cat": 40, "dog": 4})
        rows = [f"{file.relative_to(tmp_path)},{file.parent.name},2" for file in (tmp_path / "train").glob("*/*.png")]
        (tmp_path / "t.csv").write_text("path,label,times\n" + "\n".join(rows) + "\n")
        parts: dict[str, Any] = {
            "train": {"uri": "t.csv"},
            "validation": {"fraction": 0.25},
            "test": {"fraction": 0.25},
        }
        for data, advised in ((parts, True), (parts | {"weightColumn": "times"}, False)):
            found = scan(tmp_path, seed=0, slices=(), **data)
            (warning,) = [warning for warning in found.warnings if "imbalance" in warning]
            assert ("classWeights" in warning) is advised

    def test_classes_spelt_in_two_ways(self, tmp_path: Path) -> None:
        """They train as two; signs that mean something are no spelling."""
        write_folder(tmp_path / "train", {"Red Fox": 6, "red-fox": 6, "c": 6, "c++": 6, "-1": 6, "1": 6})
        found = scan(tmp_path, train={"uri": "train"}, validation={"fraction": 0.2}, test={"fraction": 0.2})
        (warning,) = [warning for warning in found.warnings if "write them alike" in warning]
        assert warning.startswith("'Red Fox' and 'red-fox' are taken for different ones")

    def test_class_without_test_pictures(self, tmp_path: Path) -> None:
        """A class that the test data lacks is named."""
        write_folder(tmp_path / "train", COUNTS)
        write_folder(tmp_path / "test", {"cat": 3}, first=50)
        found = scan(tmp_path, train={"uri": "train"}, test={"uri": "test"})
        assert any("No test picture of class dog" in warning for warning in found.warnings)


class TestMemory:
    """Scans remember what they have read."""

    @pytest.fixture
    def reads(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Names of the files that were really read."""
        names: list[str] = []
        read = fingerprint._read

        def counting(path: Path) -> fingerprint.Fingerprint:
            names.append(path.name)
            return read(path)

        monkeypatch.setattr(fingerprint, "_read", counting)
        return names

    def test_second_scan_reads_only_what_changed(self, tmp_path: Path, reads: list[str]) -> None:
        """Unchanged files are not read again; a new time stamp makes a file read again."""
        write_folder(tmp_path / "train", COUNTS)
        first = scan(tmp_path, train={"uri": "train"})
        assert len(reads) == 11
        reads.clear()
        assert scan(tmp_path, train={"uri": "train"}).index.digest == first.index.digest
        assert not reads
        changed = write_picture(tmp_path / "train" / "cat" / "003.png", 777)
        os.utime(changed, (LONG_AGO_S + 1, LONG_AGO_S + 1))
        assert scan(tmp_path, train={"uri": "train"}).index.digest != first.index.digest
        assert reads == ["003.png"]

    def test_file_written_just_now_is_not_trusted(self, tmp_path: Path, reads: list[str]) -> None:
        """A fresh file may change again within the same time stamp, so it is not remembered."""
        path = write_folder(tmp_path / "train", COUNTS) / "cat" / "000.png"
        path.write_bytes(path.read_bytes())
        scan(tmp_path, train={"uri": "train"})
        reads.clear()
        scan(tmp_path, train={"uri": "train"})
        assert reads == ["000.png"]

    def test_damaged_memory_is_started_over(self, tmp_path: Path) -> None:
        """A broken cache file costs time, nothing else."""
        write_folder(tmp_path / "train", COUNTS)
        first = scan(tmp_path, train={"uri": "train"})
        (tmp_path / "cache" / "pictures.sqlite").write_bytes(b"no database " * 500)
        assert scan(tmp_path, train={"uri": "train"}).index.digest == first.index.digest

    def test_moved_data_is_the_same_data(self, tmp_path: Path) -> None:
        """Digest and splits do not depend on where the files are."""
        before = scan(tmp_path, train={"uri": str(write_folder(tmp_path / "one", COUNTS))}).index
        (tmp_path / "one").rename(tmp_path / "two")
        assert scan(tmp_path, train={"uri": "two"}).index.digest == before.digest
