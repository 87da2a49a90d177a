"""What every test gets: a home of its own, and a word about what was left out and how to run it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from graftwork.metrics import ServingMetrics
from graftwork.settings import Settings

_INTEGRATION = "tests/integration/"
_LEFT_OUT = {
    "slow": "takes minutes; run with: pytest -m slow",
    "gpu": "needs a GPU; run with: pytest -m gpu",
    "e2e": "needs a Kubernetes API server; run with: sh tests/e2e/run.sh",
}

# On a busy machine an example may take long for no reason of its own. All else as Hypothesis has it, in CI too.
hypothesis.settings.register_profile("no-deadline", parent=hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("no-deadline")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--kubeconfig` names the cluster for the tests of `tests/e2e`, `--rounds` says how often processes are killed."""
    parser.addoption("--kubeconfig", help="kubeconfig of the cluster that tests/e2e runs on")
    parser.addoption("--rounds", type=int, default=20, help="rounds of tests/integration/jobs/test_kills.py")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Skip what a default run leaves out; the long ones come first, so that processes end at about the same time."""
    _skip_left_out(config, items)
    yield
    items.sort(key=lambda item: not item.nodeid.startswith(_INTEGRATION))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Processes that run side by side do not tear apart tests that share what is made once."""
    return _Groups(config, log)


class _Groups(LoadScopeScheduling):
    """Tests go to the processes file by file; all integration tests to one, for they start processes of their own."""

    def _split_scope(self, nodeid: str) -> str:
        return _INTEGRATION if nodeid.startswith(_INTEGRATION) else nodeid.partition("::")[0]


def _skip_left_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what a default run leaves out, and say how to run it; `-m` chooses by itself."""
    if config.option.markexpr:
        return
    for item in items:
        for marker, reason in _LEFT_OUT.items():
            if item.get_closest_marker(marker) is not None:
                item.add_marker(pytest.mark.skip(reason=f"{marker}: {reason}"))


@pytest.fixture(scope="session", autouse=True)
def fixtures_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A `GRAFT_HOME` for what is made once for several tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFT_HOME", str(tmp_path_factory.mktemp("fixtures-home")))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `GRAFT_HOME` of its own for every test: nothing reads or changes the user's."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("GRAFT_HOME", str(folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@pytest.fixture(scope="session")
def metrics() -> ServingMetrics:
    """A process keeps each series once."""
    return ServingMetrics()


@pytest.fixture
def settings(home: Path) -> Settings:
    """Settings below the test's own home."""
    return Settings.at(home)
