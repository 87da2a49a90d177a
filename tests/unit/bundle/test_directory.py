"""Sealing, opening and replaying bundles."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from graftwork.bundle.directory import BundleError, open_bundle, replay_golden, seal_bundle
from graftwork.bundle.files import files_below
from graftwork.bundle.manifest import MANIFEST_FILE
from graftwork.errors import SpecError
from tests.support.small_bundles import colour_shares, make_small_bundle, picture, small_manifest


@pytest.fixture
def bundle_dir(tmp_path: Path) -> Path:
    return make_small_bundle(tmp_path / "bundle").path


def rewrite_manifest(directory: Path, **changes: Any) -> None:
    """Change a manifest as someone would who knows how to make its own digest fit again."""
    file = directory / MANIFEST_FILE
    content = {**json.loads(file.read_text()), **changes, "manifest_digest": "0" * 64}
    text = json.dumps(content, indent=2)
    file.write_text(text.replace('"' + "0" * 64 + '"', '"' + hashlib.sha256(text.encode()).hexdigest() + '"'))


def test_sealed_bundle_opens_with_the_same_manifest(tmp_path: Path) -> None:
    """What was sealed is what is read."""
    sealed = make_small_bundle(tmp_path / "bundle")
    assert open_bundle(sealed.path) == sealed


def test_manifest_lists_the_digest_of_every_file(bundle_dir: Path) -> None:
    """Digests agree with hashlib, and no file is left out."""
    manifest = open_bundle(bundle_dir).manifest
    expected = {
        str(file.relative_to(bundle_dir)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in bundle_dir.rglob("*")
        if file.is_file() and file.name != MANIFEST_FILE
    }
    assert manifest.files == expected


def test_any_changed_byte_in_any_file_is_refused(bundle_dir: Path) -> None:
    """First, middle and last byte of every file, the manifest included, are guarded."""
    names = files_below(bundle_dir)
    assert MANIFEST_FILE in names
    assert len(names) == 7
    for name in names:
        file = bundle_dir / name
        original = file.read_bytes()
        for position in sorted({0, len(original) // 2, len(original) - 1}):
            changed = bytearray(original)
            changed[position] ^= 1
            file.write_bytes(changed)
            with pytest.raises(BundleError, match=file.name):
                open_bundle(bundle_dir)
        file.write_bytes(original)
    open_bundle(bundle_dir)


def test_every_byte_of_the_manifest_is_guarded(bundle_dir: Path) -> None:
    """No byte of the manifest can be changed, not even white space or a digit of a metric."""
    file = bundle_dir / MANIFEST_FILE
    original = file.read_bytes()
    accepted = []
    for position in range(len(original)):
        changed = bytearray(original)
        changed[position] ^= 1
        file.write_bytes(changed)
        try:
            open_bundle(bundle_dir)
        except BundleError:
            continue
        accepted.append(position)
    assert accepted == []


def test_missing_file_is_named(bundle_dir: Path) -> None:
    """A bundle that lost a file says which."""
    (bundle_dir / "openvino" / "model.bin").unlink()
    with pytest.raises(BundleError, match=r"lacks openvino/model\.bin"):
        open_bundle(bundle_dir)


def test_unlisted_file_is_refused(bundle_dir: Path) -> None:
    """A file that was slipped in is named."""
    (bundle_dir / "extra.txt").write_text("x")
    with pytest.raises(BundleError, match=r"does not list: extra\.txt"):
        open_bundle(bundle_dir)


@pytest.mark.parametrize("name", ["model.keras", "golden", MANIFEST_FILE])
def test_symbolic_link_is_refused(bundle_dir: Path, tmp_path: Path, name: str) -> None:
    """A link could lead anywhere, even to the right content now and other content later."""
    (bundle_dir / name).rename(tmp_path / "elsewhere")
    (bundle_dir / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="symbolic link"):
        open_bundle(bundle_dir)


def test_socket_in_a_bundle_is_refused(bundle_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only plain files and directories belong into a bundle."""
    monkeypatch.chdir(bundle_dir)  # a socket's path may be 107 characters long at most
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(BundleError, match="special file"):
            open_bundle(bundle_dir)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "golden/../../secret", "a//b", "./a", "", "a\\b"])
def test_path_that_leaves_the_bundle_is_refused(bundle_dir: Path, path: str) -> None:
    """A manifest cannot make a reader open files outside the bundle."""
    files = open_bundle(bundle_dir).manifest.files
    rewrite_manifest(bundle_dir, files={**files, path: "0" * 63 + "1"})
    with pytest.raises(BundleError, match="below the bundle directory"):
        open_bundle(bundle_dir)


def test_golden_example_outside_the_listed_files_is_refused(bundle_dir: Path) -> None:
    """Golden pictures are under the same digests as everything else."""
    golden = [{"file": "golden/9.png", "label": "red", "scores": [1, 0, 0]}]
    rewrite_manifest(bundle_dir, golden=golden)
    with pytest.raises(BundleError, match=r"golden/9\.png"):
        open_bundle(bundle_dir)


def test_unknown_format_version_is_refused(bundle_dir: Path) -> None:
    """A newer format is not read as if it were this one."""
    rewrite_manifest(bundle_dir, format_version=2)
    with pytest.raises(BundleError, match="format_version"):
        open_bundle(bundle_dir)


def test_unknown_manifest_keys_are_tolerated(bundle_dir: Path) -> None:
    """A newer version may add keys within the same format."""
    rewrite_manifest(bundle_dir, added_later=1)
    assert open_bundle(bundle_dir).manifest.metrics["accuracy"] == 0.5


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe"])
def test_damaged_manifest_is_a_bundle_error(bundle_dir: Path, content: bytes) -> None:
    """Whatever the manifest holds, the user gets a sentence."""
    (bundle_dir / MANIFEST_FILE).write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        open_bundle(bundle_dir)


def test_missing_directory_is_the_users_error(tmp_path: Path) -> None:
    """A wrong path says how to name a model."""
    with pytest.raises(SpecError, match="NAME@ALIAS"):
        open_bundle(tmp_path / "nothing")


def test_digest_names_content_not_place(bundle_dir: Path, tmp_path: Path) -> None:
    """A copy has the same digest, other content another."""
    copy = Path(shutil.copytree(bundle_dir, tmp_path / "copy"))
    other = make_small_bundle(tmp_path / "other", seed=1)
    assert open_bundle(copy).digest == open_bundle(bundle_dir).digest != other.digest


def test_sealing_leaves_no_temporary_file(bundle_dir: Path) -> None:
    """Only what the manifest lists, and the manifest."""
    assert set(files_below(bundle_dir)) == {MANIFEST_FILE, *open_bundle(bundle_dir).manifest.files}


def test_sealing_refuses_a_link(tmp_path: Path) -> None:
    """What a reader would refuse is not written."""
    directory = tmp_path / "bundle"
    (directory / "golden").mkdir(parents=True)
    (directory / "golden" / "0.png").symlink_to("/etc/hostname")
    manifest = small_manifest({"golden/0.png": picture(0)})
    with pytest.raises(Exception, match="symbolic link"):
        seal_bundle(directory, manifest)
    assert not (directory / MANIFEST_FILE).exists()


def test_replay_gives_the_largest_difference(bundle_dir: Path) -> None:
    """The engine sees the golden pictures as preprocessed, and the worst difference is returned."""
    bundle = open_bundle(bundle_dir)
    assert replay_golden(bundle, colour_shares) <= 1e-7
    moved = replay_golden(bundle, lambda images: colour_shares(images) + np.float32(5e-4))
    assert moved == pytest.approx(5e-4, rel=1e-3)


def test_replay_names_the_differing_example(bundle_dir: Path) -> None:
    """An engine that answers one picture differently is refused, with the picture and the amount."""

    def wrong_on_the_second(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        scores = colour_shares(images)
        scores[1, 2] += 0.25
        return scores

    with pytest.raises(BundleError, match=r"golden/1\.png differs by 0\.25"):
        replay_golden(open_bundle(bundle_dir), wrong_on_the_second)


def test_replay_refuses_not_a_number(bundle_dir: Path) -> None:
    """NaN is never within tolerance."""
    with pytest.raises(BundleError, match="differs by nan"):
        replay_golden(open_bundle(bundle_dir), lambda images: colour_shares(images) * np.float32(np.nan))


def test_replay_refuses_another_shape(bundle_dir: Path) -> None:
    """An engine with another number of classes is refused."""
    with pytest.raises(BundleError, match="shape"):
        replay_golden(open_bundle(bundle_dir), lambda images: colour_shares(images)[:, :2])
