"""How endpoints start, change and end."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Self

import httpx
import psutil
import pytest
import yaml

from graftwork.bundle.directory import Bundle
from graftwork.bundle.manifest import KERAS_MODEL_FILE
from graftwork.endpoint_state import EndpointState, log_file
from graftwork.openvino_core import openvino_core
from graftwork.settings import Settings
from tests.integration.serving.conftest import GRAFT, START_TIMEOUT_S, free_port, write_endpoint
from tests.support.bundles import picture_bytes

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]
PICTURE = picture_bytes(seed=1)


def graft(home: Path, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GRAFT, *arguments],
        env={"GRAFT_HOME": str(home), "PATH": "/usr/bin:/bin", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=START_TIMEOUT_S,
        check=False,
    )


def test_an_endpoint_in_the_background_lives_from_serve_to_stop(
    small_bundle: Bundle,
    other_bundle: Bundle,
    wrong_bundle: Bundle,
    endpoint: EndpointState,
    home: Path,
    tmp_path: Path,
) -> None:
    """It is listed, answers by name, follows its file without losing a request, refuses bad changes, and ends whole."""
    port = free_port()
    file = write_endpoint(tmp_path / "endpoint.yaml", small_bundle.path, port=port)
    (tmp_path / "cat.png").write_bytes(PICTURE)
    started = graft(home, "serve", "--detach", str(file), "-o", "json")
    assert started.returncode == 0, started.stdout + started.stderr
    state = json.loads(started.stdout)
    tree = _tree(state["pid"])
    try:
        ports, others = _ports(_tree(state["pid"])), _ports(_tree(endpoint.pid))
        assert len(ports) > 1
        assert not ports & others, "the two would get each other's requests"
        again = graft(home, "serve", str(file))
        assert (again.returncode, "which runs already" in again.stderr) == (2, True)
        listed = json.loads(graft(home, "endpoints", "list", "-o", "json").stdout)
        assert [item["name"] for item in listed] == ["small"]

        before = json.loads(graft(home, "predict", "small", str(tmp_path / "cat.png"), "-o", "json").stdout)
        with _Load(state["url"]) as load:
            write_endpoint(file, other_bundle.path, port=port)
            updated = graft(home, "endpoints", "update", "small")
        assert updated.returncode == 0, updated.stderr
        assert set(load.statuses) == {200}
        after = json.loads(graft(home, "predict", str(file), str(tmp_path / "cat.png"), "-o", "json").stdout)
        (old,), (new,) = before.values(), after.values()
        assert (old["version"], new["version"]) == (small_bundle.digest[:12], other_bundle.digest[:12])
        assert old["scores"] != new["scores"]

        assert _replicas(_tree(state["pid"])) == _replicas(tree), "replicas follow in place; none is replaced"

        for bundle, reason in ((tmp_path / "nowhere", "no such directory"), (wrong_bundle.path, "golden example")):
            write_endpoint(file, bundle, port=port)
            refused = graft(home, "endpoints", "update", "small")
            assert (refused.returncode, "goes on as before" in refused.stderr) == (1, True)
            assert reason in refused.stderr
        still = json.loads(graft(home, "predict", "small", str(tmp_path / "cat.png"), "-o", "json").stdout)
        assert list(still.values()) == [new]
        assert httpx.get(f"{state['url']}/readyz", trust_env=False).status_code == 200
        _check_drift(home, file, other_bundle.path, port)
        _check_precision(home, file, other_bundle.path, state["url"], port)
        _check_keys(home, file, other_bundle.path, state["url"], port)
    finally:
        stopped = graft(home, "endpoints", "stop", "small")
    assert stopped.returncode == 0, stopped.stderr
    assert not _alive(tree)
    assert graft(home, "endpoints", "list").stdout.startswith("No endpoint runs here")


def _check_drift(home: Path, file: Path, bundle: Path, port: int) -> None:
    """Whoever asks for drift of a model that has no summary of its test examples is told, in the endpoint's log."""
    write_endpoint(file, bundle, port=port, drift={})
    assert graft(home, "endpoints", "update", "small").returncode == 0
    assert "its drift is not watched" in log_file(Settings.at(home).endpoints_dir, "small").read_text()


def _check_precision(home: Path, file: Path, bundle: Path, url: str, port: int) -> None:
    """A running endpoint goes over to bfloat16 where the CPU has it, and otherwise says why not and stays as it is."""
    has_it = "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    for precision in ("bfloat16", "float32"):
        write_endpoint(file, bundle, port=port, precision=precision)
        updated = graft(home, "endpoints", "update", "small")
        is_refused = precision == "bfloat16" and not has_it
        assert (updated.returncode, "spec.precision" in updated.stderr) == (int(is_refused), is_refused), updated.stderr
        served = httpx.get(f"{url}/v2/models/small", trust_env=False).json()["parameters"]["precision"]
        assert served == ("float32" if is_refused else precision)


def _check_keys(home: Path, file: Path, bundle: Path, url: str, port: int) -> None:
    """A running endpoint begins to ask for keys, and follows their file."""
    keys, picture = file.with_name("keys.yaml"), str(file.with_name("cat.png"))
    created = graft(home, "keys", "create", "ann", "--file", str(keys))
    key = created.stdout.strip()
    write_endpoint(file, bundle, port=port, auth={"apiKeys": {"file": "keys.yaml"}})
    assert graft(home, "endpoints", "update", "small").returncode == 0
    refused = graft(home, "predict", "small", picture)
    assert (refused.returncode, "--api-key or GRAFT_API_KEY" in refused.stderr) == (1, True)
    assert graft(home, "predict", "small", picture, environment={"GRAFT_API_KEY": key}).returncode == 0
    assert httpx.get(f"{url}/metrics", trust_env=False).status_code == 200
    assert graft(home, "keys", "revoke", "ann", "--file", str(keys)).returncode == 0
    with httpx.Client(trust_env=False, timeout=30, headers={"x-api-key": key}) as client:
        deadline = time.monotonic() + 30
        while client.get(f"{url}/v2").status_code != 401:
            assert time.monotonic() < deadline, "a revoked key still works"


@pytest.mark.slow
def test_killing_the_process_leaves_nothing_listening(small_bundle: Bundle, home: Path, tmp_path: Path) -> None:
    """After kill -9 of `graft serve`, Ray and HAProxy end by themselves and the name is free again."""
    file = write_endpoint(tmp_path / "endpoint.yaml", small_bundle.path, port=free_port())
    state = json.loads(graft(home, "serve", "--detach", str(file), "-o", "json").stdout)
    tree = _tree(state["pid"])
    assert "haproxy" in {process.name() for process in tree}
    psutil.Process(state["pid"]).send_signal(signal.SIGKILL)
    # Ray's agents look for their parent every few seconds only, and later on a busy machine.
    _, alive = psutil.wait_procs(tree, timeout=180)
    assert not alive
    assert graft(home, "endpoints", "list", "-o", "json").stdout.strip() == "[]"


def test_a_bundle_that_answers_differently_is_not_served(wrong_bundle: Bundle, home: Path, tmp_path: Path) -> None:
    """Golden examples that do not come out right stop the start, and the error says so."""
    file = write_endpoint(tmp_path / "endpoint.yaml", wrong_bundle.path, port=free_port())
    result = graft(home, "serve", str(file))
    assert result.returncode == 1
    assert "the trained model, at most 0.001 is allowed" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_a_port_in_use_is_named_before_anything_starts(small_bundle: Bundle, home: Path, tmp_path: Path) -> None:
    """The error names the field, the port and the way out, within seconds."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        file = write_endpoint(tmp_path / "endpoint.yaml", small_bundle.path, port=port)
        result = graft(home, "serve", str(file))
    assert result.returncode == 2
    assert f"spec.http.port: received {port}, which is in use" in result.stderr
    assert "Start Ray" not in result.stdout


def test_a_changed_bundle_is_refused_before_anything_starts(small_bundle: Bundle, home: Path, tmp_path: Path) -> None:
    """One changed byte is enough."""
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(small_bundle.path, copy)
    content = bytearray((copy / KERAS_MODEL_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / KERAS_MODEL_FILE).write_bytes(content)
    file = write_endpoint(tmp_path / "endpoint.yaml", copy, port=free_port())
    result = graft(home, "serve", "--detach", str(file))
    assert result.returncode == 1
    assert "SHA-256" in result.stderr


def test_no_bundle_and_no_endpoint_are_told_apart(home: Path, tmp_path: Path) -> None:
    """A missing bundle, a missing endpoint and a missing file each have their own sentence."""
    file = write_endpoint(tmp_path / "endpoint.yaml", tmp_path / "nowhere", port=free_port())
    assert "no such directory" in graft(home, "serve", str(file)).stderr
    (tmp_path / "cat.png").write_bytes(PICTURE)
    assert "graft serve FILE" in graft(home, "predict", "small", str(tmp_path / "cat.png")).stderr
    assert "no such file" in graft(home, "predict", "small", str(tmp_path / "dog.png")).stderr
    url = f"http://127.0.0.1:{free_port()}"
    unreachable = graft(home, "predict", url, str(tmp_path / "cat.png"))
    assert (unreachable.returncode, "Is the endpoint running?" in unreachable.stderr) == (1, True)


def test_two_models_of_one_name_are_refused(small_bundle: Bundle, home: Path, tmp_path: Path) -> None:
    """Names in URLs must be told apart."""
    file = write_endpoint(tmp_path / "endpoint.yaml", small_bundle.path, port=free_port())
    content = yaml.safe_load(file.read_text())
    content["spec"]["models"] *= 2
    file.write_text(yaml.safe_dump(content))
    result = graft(home, "serve", str(file))
    assert result.returncode == 2
    assert "spec.models[1]" in result.stderr


def _ports(processes: list[psutil.Process]) -> set[int]:
    """TCP ports that some processes listen on."""
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # HAProxy has been replaced by another meanwhile
            found |= {each.laddr.port for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
    return found


class _Load:
    """Requests one after the other in a thread while a block runs."""

    def __init__(self, url: str) -> None:
        self.statuses: list[int] = []
        self._url = f"{url}/v1/endpoints/small/predict"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            while not self._over.is_set():
                self.statuses.append(client.post(self._url, content=PICTURE).status_code)


def _tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _replicas(processes: list[psutil.Process]) -> set[int]:
    return {process.pid for process in processes if process.is_running() and "ServeReplica" in process.cmdline()[0]}


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    deadline = time.monotonic() + 20
    gone, alive = psutil.wait_procs(processes, timeout=max(0.0, deadline - time.monotonic()))
    del gone
    return alive
