"""The registry over a real MLflow tracking server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from graftwork.bundle.directory import BundleError, open_bundle
from graftwork.bundle.files import files_below
from graftwork.errors import SpecError
from graftwork.registry import Registry
from graftwork.registry.mlflow_client import RegistryUnavailableError
from graftwork.settings import Settings
from tests.support.small_bundles import make_small_bundle

pytestmark = pytest.mark.integration

_START_DEADLINE_S = 120
_POLL_S = 0.2


def _server_python() -> str | None:
    """A Python on the PATH (or beside an `mlflow` there) that has the server, which `mlflow-skinny` lacks."""
    for folder in os.get_exec_path():
        python = Path(folder) / "python"
        if (Path(folder) / "mlflow").is_file() and python.is_file():
            probe = subprocess.run(
                [python, "-c", "import flask, uvicorn, mlflow.server"], capture_output=True, check=False
            )
            if probe.returncode == 0:
                return str(python)
    return None


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    python = _server_python()
    if python is None:
        pytest.skip("no `mlflow server` on the PATH: install the full `mlflow` package in an environment on the PATH")
    folder = tmp_path_factory.mktemp("server")
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                *(python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", f"{folder}/files"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _START_DEADLINE_S
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"mlflow server did not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(_POLL_S)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@pytest.fixture
def remote(server: str, settings: Settings) -> Settings:
    return Settings(home=settings.home, tracking_uri=server)


def test_bundle_comes_back_from_a_server(remote: Settings, tmp_path: Path) -> None:
    """Registered over HTTP, fetched into the local cache of another machine, same content; nothing local is used."""
    bundle = make_small_bundle(tmp_path / "b", seed=1)
    registration = Registry(remote).register(bundle, "there-and-back", "champion")
    elsewhere = Settings(home=tmp_path / "elsewhere", tracking_uri=remote.tracking_uri)
    resolved = Registry(elsewhere).resolve("there-and-back@champion")
    assert (resolved.version, resolved.digest) == (registration.version, bundle.digest)
    assert resolved.path == elsewhere.bundles_dir / bundle.digest
    assert files_below(resolved.path) == files_below(bundle.path)
    assert not (remote.home / "mlflow").exists()


def test_damaged_cache_is_fetched_again(remote: Settings, tmp_path: Path) -> None:
    """A changed byte in the cache costs a download, not a wrong answer."""
    bundle = make_small_bundle(tmp_path / "b", seed=2)
    registry = Registry(remote)
    registry.register(bundle, "damaged-cache", "champion")
    cached = registry.resolve("damaged-cache@champion").path
    (cached / "model.keras").write_bytes(b"x")
    assert registry.resolve("damaged-cache@champion").digest == bundle.digest
    assert open_bundle(cached).digest == bundle.digest


def test_aliases_and_history_live_on_the_server(remote: Settings, tmp_path: Path) -> None:
    """A rollback from another machine sees the same history."""
    for seed in (3, 4):
        Registry(remote).register(make_small_bundle(tmp_path / str(seed), seed=seed), "rolled", "champion")
    elsewhere = Registry(Settings(home=tmp_path / "elsewhere", tracking_uri=remote.tracking_uri))
    assert elsewhere.rollback("rolled", "champion").after == 1
    assert Registry(remote).show_model("rolled").aliases == {"champion": 1}


def test_failed_registration_leaves_the_server_as_it_was(
    remote: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload is removed again, through the server."""
    registry = Registry(remote)
    run = registry.track_run("broken", "r1", {"a": 1}, [{"loss": 1.0}], {"accuracy": 0.5})

    def fail(*_args: object, **_kwargs: object) -> None:
        raise ConnectionError("injected")

    with monkeypatch.context() as patch:
        patch.setattr(registry._client, "create_model_version", fail)
        with pytest.raises(ConnectionError, match="injected") as caught:
            registry.register(make_small_bundle(tmp_path / "b"), "broken", "champion", run)
    assert not hasattr(caught.value, "__notes__")
    assert registry._client.list_artifacts(run) == []
    with pytest.raises(SpecError, match="registered model"):
        registry.resolve("broken@champion")


def test_bundle_exchanged_on_the_server_is_refused(remote: Settings, tmp_path: Path) -> None:
    """What the server holds must be what was registered."""
    registry = Registry(remote)
    registry.register(make_small_bundle(tmp_path / "b", seed=5), "exchanged", "champion")
    source = registry.show_model("exchanged").versions[0]
    client = registry._client
    run, folder = client.get_model_version("exchanged", "1").run_id, source.source.rsplit("/", 1)[1]
    assert run is not None
    assert run is not None
    client.log_artifacts(run, str(make_small_bundle(tmp_path / "other", seed=6).path), folder)
    elsewhere = Registry(Settings(home=tmp_path / "elsewhere", tracking_uri=remote.tracking_uri))
    with pytest.raises(BundleError, match="another bundle"):
        elsewhere.resolve("exchanged@champion")


def test_server_that_is_down_is_told(settings: Settings) -> None:
    """No traceback of a connection pool: which address, and what to check."""
    nobody = Settings(home=settings.home, tracking_uri=f"http://127.0.0.1:{_free_port()}")
    with pytest.raises(RegistryUnavailableError, match="Check MLFLOW_TRACKING_URI"):
        Registry(nobody).list_models()
