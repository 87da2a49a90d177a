"""`kill -9` of driver, worker and extraction at random moments: every run ends as if nothing had happened.

Run it with `pytest -m slow tests/integration/jobs/test_kills.py --rounds 20`; each round takes a minute or two.
"""

from __future__ import annotations

import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from graftwork.bundle.directory import open_bundle
from graftwork.progress import SilentReporter
from graftwork.registry import Registry
from graftwork_jobs.features.store import FeatureStore
from graftwork_jobs.run_paths import read_state
from graftwork_jobs.train.checkpoint import is_whole
from tests.integration.jobs.graft_home import Ended, GraftHome, Started
from tests.integration.jobs.tiny_jobs import write_job
from tests.support.train_workers import train_workers

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(0)]

_MODEL = "killed"
_VICTIMS = ("driver", "worker", "extraction", "driver while it evaluates and registers")
_MOST_ATTEMPTS = 3
_PHASES = [
    {"name": "head", "epochs": 4, "unfreeze": "none", "learningRate": 0.01},
    {"name": "tune", "epochs": 4, "unfreeze": {"fromLayer": "conv1"}, "learningRate": 0.003},
]


def _write(graft_home: GraftHome, name: str, **spec: Any) -> str:
    return write_job(
        graft_home.work,
        name,
        phases=_PHASES,
        features={"views": 2},
        scaling={"checkpointEverySeconds": 1e-6, "maxFailures": 3},
        evaluation={"calibration": "temperature"},
        **spec,
    )


class _Peace:
    """The same job left alone: what every run must come to, and how long it took."""

    def __init__(self, graft_home: GraftHome) -> None:
        began = time.monotonic()
        ended = graft_home.graft("run", _write(graft_home, "peace", register={"model": "peace"}), "-o", "json")
        assert ended.code == 0, ended.err
        self.metrics = ended.json["metrics"]
        self.seconds = time.monotonic() - began


@pytest.fixture(scope="module")
def peace(graft_home: GraftHome) -> _Peace:
    return _Peace(graft_home)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each round."""
    if "number" in metafunc.fixturenames:
        rounds = int(str(metafunc.config.getoption("rounds")))
        metafunc.parametrize("number", range(rounds), ids=lambda number: f"{_VICTIMS[number % len(_VICTIMS)]}-{number}")


def test_a_killed_run_ends_like_any_other(number: int, graft_home: GraftHome, peace: _Peace) -> None:
    """The same metrics, one whole version, and nothing half-written in cache, checkpoints, run folder or registry."""
    dice = random.Random(number)  # noqa: S311 (moments, no secrets)
    name, victim = f"round{number}", _VICTIMS[number % len(_VICTIMS)]
    for entry in graft_home.settings.features_dir.glob("*"):
        entry.unlink()
    before = _versions(graft_home)
    file = _write(graft_home, name, register={"model": _MODEL})
    ended = _disturb(graft_home.start("run", file, "-o", "json"), graft_home, name, victim, dice, peace.seconds)
    attempts = 1
    while ended.code != 0 and attempts < _MOST_ATTEMPTS:
        # Only who was killed itself may need the user to start it again.
        assert victim.startswith("driver"), ended.err
        ended = graft_home.graft("run", file, "-o", "json")
        attempts += 1
    assert ended.code == 0, ended.err
    assert ended.json["metrics"] == peace.metrics
    assert _versions(graft_home) == [*before, ended.json["run_id"]]
    assert _half_written(graft_home, name) == []


def _disturb(
    driver: Started, graft_home: GraftHome, name: str, victim: str, dice: random.Random, usual_s: float
) -> Ended:
    """Kill the victim at a moment that the dice choose; what the command came to."""
    match victim:
        case "driver":
            _wait(driver, dice.uniform(0.1, 1.0) * usual_s)
            driver.process.kill()
        case "worker":
            _until(driver, lambda: bool(_workers(driver)))
            _wait(driver, dice.uniform(0.0, 0.3) * usual_s)
            _kill_one(driver, dice)
        case "extraction":
            _until(driver, lambda: any(graft_home.settings.features_dir.glob("*.unfinished")))
            _wait(driver, dice.uniform(0.0, 0.05))
            _kill_one(driver, dice)
        case _:
            _until(driver, lambda: _status(graft_home, name) in {"evaluating", "registering"})
            _wait(driver, dice.uniform(0.0, 0.25) * usual_s)
            driver.process.kill()
    return driver.ended()


def _until(driver: Started, condition: Any) -> None:
    """Wait for the moment; a run that ended before it came goes on undisturbed."""
    with suppress(AssertionError):
        driver.wait_until(lambda: driver.process.poll() is not None or condition())


def _wait(driver: Started, seconds: float) -> None:
    until = time.monotonic() + seconds
    _until(driver, lambda: time.monotonic() >= until)


def _workers(driver: Started) -> list[psutil.Process]:
    """Ray Train's workers among the processes that the driver has started."""
    return train_workers(driver.family)


def _kill_one(driver: Started, dice: random.Random) -> None:
    if workers := _workers(driver):
        with suppress(psutil.NoSuchProcess):
            dice.choice(sorted(workers, key=lambda process: process.pid)).kill()


def _status(graft_home: GraftHome, name: str) -> str:
    runs = graft_home.runs(name)
    return read_state(runs[0]).status if runs else ""


def _versions(graft_home: GraftHome) -> list[str]:
    """Runs whose bundle the registry holds, oldest first; each is opened, which checks every file."""
    registry = Registry(graft_home.settings, SilentReporter())
    models = {model.name: model for model in registry.list_models()}
    if _MODEL not in models:
        return []
    numbers = sorted(version.version for version in models[_MODEL].versions)
    assert models[_MODEL].aliases == {"champion": numbers[-1]}
    return [registry.resolve(f"{_MODEL}/{number}").bundle.manifest.lineage.run_id for number in numbers]


def _half_written(graft_home: GraftHome, name: str) -> list[str]:
    """Whatever is not whole: features, checkpoints, the bundle, and what lies about in the run's folder."""
    (run,) = graft_home.runs(name)
    features = graft_home.settings.features_dir
    store = FeatureStore.below(features)
    found = [path for path in features.glob("*") if path.suffix != ".npy" or store.open(path.stem) is None]
    found += [path for path in run.root.rglob("checkpoint_*") if path.is_dir() and not is_whole(path)]
    found += [path for path in run.root.iterdir() if path.name.startswith(".") and path != run.lock_file]
    assert open_bundle(run.bundle_dir).manifest.lineage.run_id == run.run_id
    return [_shown(path, graft_home.home) for path in found]


def _shown(path: Path, home: Path) -> str:
    return str(path.relative_to(home))
