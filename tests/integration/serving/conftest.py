"""Real bundles, made once a session, and real endpoints of theirs."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from graftwork.bundle.directory import Bundle
from graftwork.endpoint_state import EndpointState, running_endpoint
from graftwork.settings import Settings
from tests.support.bundles import small_model, write_bundle

if TYPE_CHECKING:
    import keras

GRAFT = (sys.executable, "-c", "from graftwork.cli.main import main; main()")
START_TIMEOUT_S = 180
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser without a window. The module's own: while it runs, this thread has an event loop."""
    playwright = pytest.importorskip("playwright.sync_api", reason="run with: pip install playwright")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser is installed; run with one of {', '.join(BROWSERS)}")
    with playwright.sync_playwright() as started:
        # Chromium's own sandbox does not start for root, as in containers.
        yield started.chromium.launch(executable_path=program, args=["--no-sandbox"])


@pytest.fixture(scope="session")
def small_keras_model() -> keras.Model:
    """The Keras model behind `small_bundle`."""
    return small_model(seed=0)


@pytest.fixture(scope="session")
def small_bundle(small_keras_model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of a small network."""
    return write_bundle(small_keras_model, tmp_path_factory.mktemp("bundles") / "small")


@pytest.fixture(scope="session")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of another small network with the same labels."""
    return write_bundle(small_model(seed=1), tmp_path_factory.mktemp("bundles") / "small")


@pytest.fixture(scope="session")
def wrong_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle whose golden examples are not what its model says."""
    return write_bundle(small_model(seed=2), tmp_path_factory.mktemp("bundles") / "wrong", shift_golden=0.1)


def free_port() -> int:
    """A port nobody listens on, and that the system hands to nobody who asks for just any (it does so above 32767)."""
    while True:
        port = secrets.randbelow(10_000) + 20_000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def write_endpoint(file: Path, bundle: Path, *, port: int, name: str = "small", **spec: object) -> Path:
    """An endpoint spec file with one model."""
    content = {
        "apiVersion": "graftwork.dev/v1alpha1",
        "kind": "InferenceEndpoint",
        "metadata": {"name": name},
        "spec": {"models": [{"model": str(bundle), "name": "small"}], "http": {"port": port}, **spec},
    }
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.fixture(scope="session")
def endpoint(small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EndpointState]:
    """`graft serve` in the foreground, ended with Ctrl-C after the last test."""
    folder = tmp_path_factory.mktemp("endpoint")
    file = write_endpoint(
        folder / "endpoint.yaml",
        small_bundle.path,
        port=free_port(),
        limits={"maxRequestBytes": 200_000, "maxImagePixels": 1_000_000},
        grpc={"port": free_port()},
    )
    with serving(file) as state:
        yield state


@contextmanager
def serving(file: Path, environment: dict[str, str] | None = None) -> Iterator[EndpointState]:
    """`graft serve` of an endpoint named `small`, in the foreground, with its home beside the file."""
    folder, log = file.parent, file.with_name("serve.log")
    environment = environment or {"GRAFT_HOME": str(folder), "PATH": "/usr/bin:/bin"}
    with log.open("wb") as stream:
        process = subprocess.Popen([*GRAFT, "serve", str(file)], env=environment, stdout=stream, stderr=stream)
    try:
        yield _wait(process, Settings.at(folder), log)
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="session")
def client(endpoint: EndpointState) -> Iterator[httpx.Client]:
    """A client of the endpoint."""
    with httpx.Client(base_url=endpoint.url, timeout=30, trust_env=False) as http_client:
        yield http_client


def _wait(process: subprocess.Popen[bytes], settings: Settings, log: Path) -> EndpointState:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        state = running_endpoint(settings.endpoints_dir, "small")
        if state is not None and state.ready:
            return state
        time.sleep(0.1)
    process.kill()
    raise RuntimeError(f"graft serve did not become ready:\n{log.read_text()}")
