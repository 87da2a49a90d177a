"""What every test gets: a home of its own, and a word about what was left out and how to run it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from graftwork.metrics import ServingMetrics
from graftwork.settings import Settings

_INTEGRATION = Path(__file__).parent / "integration"
_LEFT_OUT = {
    "slow": "takes minutes; run with: pytest -m slow",
    "gpu": "needs a GPU; run with: pytest -m gpu",
    "e2e": "needs a Kubernetes API server; run with: sh tests/e2e/run.sh",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--kubeconfig` names the cluster for the tests of `tests/e2e`, `--rounds` says how often processes are killed."""
    parser.addoption("--kubeconfig", help="kubeconfig of the cluster that tests/e2e runs on")
    parser.addoption("--rounds", type=int, default=20, help="rounds of tests/integration/jobs/test_kills.py")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Skip what a default run leaves out, and group what processes that run side by side must not tear apart."""
    _skip_left_out(config, items)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    yield
    # The long ones first: the processes then end at about the same time.
    items.sort(key=lambda item: not _is_integration(item))


def _skip_left_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what a default run leaves out, and say how to run it; `-m` chooses by itself."""
    if config.option.markexpr:
        return
    for item in items:
        for marker, reason in _LEFT_OUT.items():
            if item.get_closest_marker(marker) is not None:
                item.add_marker(pytest.mark.skip(reason=f"{marker}: {reason}"))


def _is_integration(item: pytest.Item) -> bool:
    return item.path.is_relative_to(_INTEGRATION)


def _group(item: pytest.Item) -> str:
    """Tests that share what is made once: those of a file, or of a folder of integration tests."""
    path = item.path.parent if _is_integration(item) else item.path
    return path.relative_to(Path(__file__).parent).as_posix()


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
