"""A Ray of our own: quiet, private, and gone afterwards. In a process of its own, as one process has one Ray."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

_SCRIPT = """
import json, os, sys
from pathlib import Path
import psutil
from graftwork.progress import SilentReporter
from graftwork.spec.fine_tune_job import Scaling
from graftwork_jobs.train.local_ray import start_local_ray

class Recorder(SilentReporter):
    warnings = []
    def warn(self, message):
        self.warnings.append(message)

import ray  # sets variables of its own

before = dict(os.environ)
found = {}
with start_local_ray(Scaling(workers=64), log_dir=Path(sys.argv[1]), reporter=Recorder()):
    found["cpus"] = ray.cluster_resources()["CPU"]
    found["addresses"] = sorted({node["NodeManagerAddress"] for node in ray.nodes()})
    children = psutil.Process().children(recursive=True)
    found["children"] = len(children)
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    found["file_mode"] = oct(token.stat().st_mode & 0o777)
    folder = token.parent
    scratch = ray.get(ray.remote(num_cpus=1)(lambda: __import__("tempfile").mkdtemp()).remote())
    found["own_temporary_folder"] = os.environ.get("TMPDIR") == before.get("TMPDIR")
    found["temporary_files_inside"] = Path(scratch).is_relative_to(folder)
_, alive = psutil.wait_procs(children, timeout=30)
found["alive"] = [process.name() for process in alive]
found["folder_left"] = folder.exists()
found["changed"] = sorted(
    # Ray's own debugger hook stays.
    name for name in (set(before) | set(os.environ)) - {"PYTHONBREAKPOINT"} if before.get(name) != os.environ.get(name)
)
found["warnings"] = Recorder.warnings
try:
    ray.put(1)
except Exception as error:
    found["late_call"] = str(error)
found["started_by_itself"] = ray.is_initialized()
print("FOUND " + json.dumps(found))
"""


_MORE_GPUS_THAN_THERE_ARE = """
import sys
from pathlib import Path
from graftwork.progress import SilentReporter
from graftwork.spec.fine_tune_job import Scaling
from graftwork_jobs.train.local_ray import start_local_ray

with start_local_ray(Scaling(workers=64, gpus_per_worker=1), log_dir=Path(sys.argv[1]), reporter=SilentReporter()):
    print("started")
"""


def test_more_gpus_than_there_are_are_refused_at_once(tmp_path: Path) -> None:
    """Ray would wait for them, and training or a search with it."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _MORE_GPUS_THAN_THERE_ARE, str(tmp_path / "logs")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "started" not in done.stdout
    assert "spec.scaling.gpusPerWorker: received 1 for each of 64 workers, expected at most" in done.stderr


def test_ray_is_private_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Loopback, a token only we can read, no process, folder, variable or other Ray left; logs kept; few cores told."""
    logs = tmp_path / "logs"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _SCRIPT, str(logs)], capture_output=True, text=True, check=True
    )
    (line,) = done.stdout.splitlines()
    found = json.loads(line.removeprefix("FOUND "))
    assert done.stderr == ""
    assert found["cpus"] >= 64
    assert all(address.startswith("127.") for address in found["addresses"])
    assert found["children"] > 0
    assert found["file_mode"] == "0o600"
    assert found["alive"] == []
    assert found["temporary_files_inside"]
    assert found["own_temporary_folder"]
    assert not found["folder_left"]
    assert found["changed"] == []
    assert "not been started" in found["late_call"]
    assert not found["started_by_itself"]
    assert len(found["warnings"]) == 1
    assert "64 workers" in found["warnings"][0]
    assert (logs / "raylet.out").is_file()
