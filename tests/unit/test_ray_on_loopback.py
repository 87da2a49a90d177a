"""How Ray is started, with a Ray that does as it is told."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from graftwork import ray_on_loopback
from graftwork.errors import PermanentError
from graftwork.progress import SilentReporter
from graftwork.ray_on_loopback import keep_logs, make_folder, start_ray, write_token

# A number no process has: Linux gives none above 2**22.
_NOBODY = 2**22 + 1
Starts = list[dict[str, Any]]


@pytest.fixture
def obeying_ray(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str | None]], Starts]:
    """Puts a Ray in place whose starts end as told: None well, a text with an error of these words."""

    def place(ends: Sequence[str | None]) -> Starts:
        ray, compiled, starts = ModuleType("ray"), ModuleType("ray._raylet"), Starts()

        def init(**options: Any) -> None:
            starts.append(options)
            end = ends[len(starts) - 1]
            if end is not None:
                raise RuntimeError(end)

        vars(ray).update(init=init, shutdown=lambda: None)
        loader = SimpleNamespace(instance=lambda: SimpleNamespace(reset_cache=lambda: None))
        vars(compiled).update(Config=SimpleNamespace(initialize=lambda _: None), AuthenticationTokenLoader=loader)
        monkeypatch.setitem(sys.modules, "ray", ray)
        monkeypatch.setitem(sys.modules, "ray._raylet", compiled)
        monkeypatch.setattr(ray_on_loopback, "log_ray_messages", lambda: None)  # works on the real one
        return starts

    return place


def _start(folder: Path) -> None:
    start_ray(folder, SilentReporter(), cpus=2, object_store_bytes=1024)


def test_a_start_that_was_too_slow_is_tried_again(
    obeying_ray: Callable[[Sequence[str | None]], Starts], tmp_path: Path
) -> None:
    """Each time alike, and on loopback."""
    starts = obeying_ray(["The node timed out during startup.", "Failed to connect to GCS.", None])
    _start(tmp_path)
    assert len(starts) == 3
    assert starts[0] == starts[2]
    assert starts[0]["_node_ip_address"].startswith("127.")


def test_a_machine_that_stays_busy_is_named(
    obeying_ray: Callable[[Sequence[str | None]], Starts], tmp_path: Path
) -> None:
    """With what to do."""
    obeying_ray(["timed out during startup"] * 3)
    with pytest.raises(PermanentError, match=r"too busy\. Run the same command again"):
        _start(tmp_path)


def test_any_other_error_is_not_tried_again(
    obeying_ray: Callable[[Sequence[str | None]], Starts], tmp_path: Path
) -> None:
    """It would only come later."""
    starts = obeying_ray(["no such option", None])
    with pytest.raises(RuntimeError, match="no such option"):
        _start(tmp_path)
    assert len(starts) == 1


def test_folders_of_processes_that_are_gone_are_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those of living ones, and of others' making, stay."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in (f"graft-{_NOBODY}-a", f"graft-{os.getppid()}-a", f"graft-ray-{_NOBODY}-a", "graft-pictures-1"):
        (tmp_path / name).mkdir()
    made = make_folder("graft-")
    left = {folder.name for folder in tmp_path.iterdir()}
    assert left == {f"graft-{os.getppid()}-a", f"graft-ray-{_NOBODY}-a", "graft-pictures-1", made.name}
    assert made.name.startswith(f"graft-{os.getpid()}-")


def test_the_token_is_this_users_alone(tmp_path: Path) -> None:
    """64 hexadecimal digits that nobody else may read."""
    token = write_token(tmp_path)
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(bytes.fromhex(token.read_text())) == 32


def test_of_a_folder_only_the_logs_are_kept(tmp_path: Path) -> None:
    """Beside those of earlier runs."""
    logs, kept = tmp_path / "folder" / "session_latest" / "logs", tmp_path / "kept"
    logs.mkdir(parents=True)
    (logs / "new.log").write_text("new")
    kept.mkdir()
    (kept / "old.log").write_text("old")
    keep_logs(tmp_path / "folder", kept)
    assert {file.name for file in kept.iterdir()} == {"new.log", "old.log"}
    assert not (tmp_path / "folder").exists()
