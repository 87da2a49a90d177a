"""What JAX compiled once is there for the next process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from graftwork.compiled_programs import keep_compiled_programs
from graftwork.settings import child_environment

_PROGRAM = """
import sys
from pathlib import Path
from graftwork.compiled_programs import keep_compiled_programs

keep_compiled_programs(Path(sys.argv[1]))
import jax

events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
answer = jax.jit(lambda x: (x @ x).sum())(jax.numpy.ones((8, 8)))
hits, misses = (events.count(f"/jax/compilation_cache/cache_{what}") for what in ("hits", "misses"))
print(float(answer), hits, misses)
"""


def _run(folder: Path) -> tuple[float, int, int]:
    """Compute something in a new process: the outcome, how many programs were there, how many were not."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM, str(folder)],
        env=child_environment({"JAX_PLATFORMS": "cpu"}),
        capture_output=True,
        text=True,
        check=True,
    )
    answer, hits, misses = done.stdout.split()
    return float(answer), int(hits), int(misses)


def test_a_program_is_compiled_once(tmp_path: Path) -> None:
    """Another process finds it; one that a killed process left half-written is compiled again."""
    answer, hits, misses = _run(tmp_path)
    assert (answer, hits) == (512.0, 0)
    assert misses > 0
    assert _run(tmp_path) == (512.0, misses, 0)
    for file in tmp_path.glob("*/*"):
        file.write_bytes(file.read_bytes()[:-7])
    assert _run(tmp_path)[0] == 512.0


def test_what_was_not_used_for_longest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept does not grow for ever."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    keep_compiled_programs(tmp_path)
    (folder,) = tmp_path.iterdir()
    for age, name in enumerate(("new", "middle", "old")):
        (folder / name).write_bytes(bytes(10))
        os.utime(folder / name, (1e9 - age, 1e9 - age))
    keep_compiled_programs(tmp_path, max_bytes=25)
    assert {file.name for file in folder.iterdir()} == {"new", "middle"}


def test_a_home_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are compiled as if there were no such folder."""
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    (tmp_path / "file").write_text("in the way")
    keep_compiled_programs(tmp_path / "file")
    assert "JAX_COMPILATION_CACHE_DIR" not in child_environment({})
