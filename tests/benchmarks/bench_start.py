"""How long an endpoint takes to start, to wake and to replace a lost replica, and where that time goes; from one run.

    python -m tests.benchmarks.bench_start [MODEL] [--rounds 3] [--only start,replica,wake,kill]

MODEL is a bundle's directory, or its name in the registry; by default a bundle of EfficientNet-Lite0 at 224 px.

* start: `graft serve --detach`, beside what Ray needs by itself: a Python script that starts Ray and Serve as their
  documentation does, with a deployment that answers with a constant. Sides take turns; moments are seconds since the
  command.
* replica: what a replica does from the start of its process until its golden examples are replayed, part by part, in a
  process of its own without Ray around it; and the same in the endpoint of `start`, where others start beside it.
* wake: the first request to an endpoint that has no replica (`minReplicas: 0`), beside one that finds it awake.
* kill: `kill -9` of one of two replicas under the load of eight clients: until another has answered a request.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from tests.benchmarks.bench_precision import bundle_of
from tests.benchmarks.bench_serving import ROOT, build_bundle, free_port, make_picture, wrk

GRAFT = (sys.executable, "-c", "from graftwork.cli.main import main; main()")
PARTS = ("start", "replica", "wake", "kill")
NAME = "bench"
LOOK_EVERY_S = 0.03
TIMEOUT_S = 180.0

RAY_ALONE = """
import sys
import ray
from ray import serve

@serve.deployment
class Constant:
    def __call__(self, request):
        return "1"

if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Constant.bind())
    print("ready", flush=True)
    sys.stdin.read()
    ray.shutdown()
"""

REPLICA = """
import json, sys, time
moments, before = {}, time.perf_counter()

def part(name):
    global before
    now = time.perf_counter()
    moments[name], before = now - before, now

import ray.serve
part("import Ray Serve")
from pathlib import Path
from graftwork.metrics import ServingMetrics, share_metrics
share_metrics(Path(sys.argv[2]))
import graftwork_serving.deployment, graftwork_serving.web.app, graftwork_serving.work_pool
ServingMetrics()
part("import Graftwork")
import openvino
part("import OpenVINO")
from graftwork.bundle.directory import golden_scores, open_bundle
from graftwork.bundle.manifest import OPENVINO_MODEL_FILE
from graftwork_serving import engine
from graftwork.bundle.answers import answers_for
from graftwork_serving.precision import check_golden
from graftwork_serving.trunks import SharedParts
bundle = open_bundle(Path(sys.argv[1]))
part("check digests")
compile_s, compile_network = 0.0, engine._Compiled.__init__

def timed(*arguments):
    global compile_s
    started = time.perf_counter()
    compile_network(*arguments)
    compile_s += time.perf_counter() - started

engine._Compiled.__init__ = timed
parts = SharedParts()
reader = parts.reader(bundle.input, max_image_pixels=10_000_000)
options = engine.EngineOptions(threads=int(sys.argv[3]), max_batch_size=16)
made, _ = parts.engine(bundle.path / OPENVINO_MODEL_FILE, reader, options)
part("warm up")
moments["warm up"] -= compile_s
moments["compile"] = compile_s
check_golden(bundle, answers_for(bundle.manifest.output), golden_scores(bundle, made.predict), "float32")
part("replay golden examples")
print(json.dumps(moments))
"""


@dataclass(kw_only=True)
class Seen:
    """A process: when it began, and what it called itself from when on; seconds since the watch began."""

    pid: int
    parent: int
    began_s: float
    titles: list[tuple[float, str]] = field(default_factory=list)

    def first(self, *words: str) -> float | None:
        """When one of these words first stood in its title."""
        return next((at for at, title in self.titles if any(word in title for word in words)), None)


class Watch:
    """Looks at all processes below one, many times a second, while a block runs.

    Args:
        root: the process.
        began: when the watch's seconds began, since 1970.
    """

    def __init__(self, root: int, began: float | None = None) -> None:
        self._root = psutil.Process(root)
        self._began = time.time() if began is None else began
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.seen: dict[int, Seen] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def now_s(self) -> float:
        """Seconds since the watch began."""
        return time.time() - self._began

    def replicas(self) -> list[Seen]:
        """Processes that are or have been replicas; not what these have forked."""
        named = {each.pid: each for each in list(self.seen.values()) if each.first("EndpointReplica") is not None}
        return [each for each in named.values() if each.parent not in named]

    def _look(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            try:
                processes = self._root.children(recursive=True)
            except psutil.NoSuchProcess:
                return
            for process in processes:
                try:
                    title, parent = " ".join(process.cmdline()), process.ppid()
                    began_s = process.create_time() - self._began
                except psutil.Error:
                    continue
                known = self.seen.setdefault(process.pid, Seen(pid=process.pid, parent=parent, began_s=began_s))
                if not known.titles or known.titles[-1][1] != title:
                    known.titles.append((self.now_s(), title))


def main() -> None:
    """Do the parts asked for, and print each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", metavar="MODEL", nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(PARTS))
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    if "kill" in wanted and shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed. Debian: apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as folder:
        work = Path(folder)
        if arguments.model is None:
            bundle, picture = build_bundle(work)
            reference = str(bundle)
        else:
            bundle, picture, reference = bundle_of(arguments.model), work / "picture.jpg", arguments.model
            make_picture(picture)
        parts: dict[str, Callable[[], None]] = {
            "start": lambda: report_start(work, reference, arguments.rounds),
            "replica": lambda: report_replica(bundle, work, arguments.rounds),
            "wake": lambda: report_wake(work, reference, picture, arguments.rounds),
            "kill": lambda: report_kill(work, reference, picture, arguments.rounds),
        }
        for name in PARTS:
            if name in wanted:
                parts[name]()


def report_start(work: Path, reference: str, rounds: int) -> None:
    """Print what happens when, after the command, and how long Ray takes by itself."""
    moments: list[dict[str, float]] = []
    alone: list[float] = []
    for _ in range(rounds):
        with detached(work, reference) as (watch, seconds):
            moments.append({**moments_of(watch), "the command returns": seconds})
        alone.append(ray_alone_s(work))
    print("start: seconds after `graft serve --detach`, median")
    for name in moments[0]:
        print(f"  {name:44}{statistics.median(each[name] for each in moments):8.2f}")
    print(f"  {'Ray and Serve by themselves, with a constant':44}{statistics.median(alone):8.2f}")


def moments_of(watch: Watch) -> dict[str, float]:
    """When what was first seen."""
    processes = list(watch.seen.values())

    def earliest(*words: str) -> float:
        return min((at for each in processes if (at := each.first(*words)) is not None), default=float("nan"))

    def latest(word: str) -> float:
        return max((each.titles[-1][0] for each in processes if each.first(word) is not None), default=float("nan"))

    (replica,) = watch.replicas()
    return {
        "the endpoint's process": min(each.began_s for each in processes),
        "Ray's first process": earliest("gcs_server"),
        "Serve's controller": earliest("ServeController"),
        "Serve's proxy": earliest("HAProxyManager"),
        "HAProxy": earliest("bin/haproxy"),
        "the replica's process begins": replica.began_s,
        "the replica is made": replica.first("SERVE_REPLICA") or float("nan"),
        "the replica is ready": latest("EndpointReplica"),
    }


@contextmanager
def detached(work: Path, reference: str, **spec: Any) -> Iterator[tuple[Watch, float]]:
    """`graft serve --detach`, watched; gives the watch, which goes on, and how long the command took."""
    began = time.time()
    file, port = work / "endpoint.yaml", free_port()
    content = {
        "apiVersion": "graftwork.dev/v1alpha1",
        "kind": "InferenceEndpoint",
        "metadata": {"name": NAME},
        "spec": {"models": [{"model": reference, "name": NAME}], "http": {"port": port}, **spec},
    }
    file.write_text(json.dumps(content))
    process = subprocess.Popen([*GRAFT, "serve", "--detach", str(file)], stdout=subprocess.PIPE, text=True)
    with Watch(process.pid, began) as watch:
        told, _ = process.communicate()
        seconds = watch.now_s()
    if process.returncode:
        raise SystemExit(told)
    try:
        yield watch, seconds
    finally:
        subprocess.run([*GRAFT, "endpoints", "stop", NAME], check=True, stdout=subprocess.DEVNULL)


def ray_alone_s(work: Path) -> float:
    """How long Ray and Serve take to answer with a constant."""
    script, started = work / "ray_alone.py", time.monotonic()
    script.write_text(RAY_ALONE)
    process = subprocess.Popen(
        [sys.executable, str(script), str(free_port())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    if process.stdout is None or process.stdout.readline() != b"ready\n":
        raise SystemExit("Ray did not start by itself")
    seconds = time.monotonic() - started
    process.communicate()
    return seconds


def report_replica(bundle: Path, work: Path, rounds: int) -> None:
    """Print the parts of a replica's start."""
    seen: list[dict[str, float]] = []
    for number in range(rounds):
        command = [sys.executable, "-c", REPLICA, str(bundle), str(work / f"metrics-{number}"), str(_cores())]
        started = time.monotonic()
        output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
        parts = json.loads(output)
        parts["start of Python, and its end"] = time.monotonic() - started - sum(parts.values())
        seen.append(parts)
    print("replica: seconds, median")
    for name in seen[0]:
        print(f"  {name:44}{statistics.median(each[name] for each in seen):8.2f}")
    print(f"  {'in all':44}{statistics.median(sum(each.values()) for each in seen):8.2f}")


def report_wake(work: Path, reference: str, picture: Path, rounds: int) -> None:
    """Print how long the request takes that wakes a sleeping endpoint."""
    scaling = {"minReplicas": 0, "maxReplicas": 1, "downscaleDelaySeconds": 1}
    asleep, awake, processes = [], [], []
    with detached(work, reference, autoscaling=scaling):
        pid, url = _running()
        with Watch(pid) as watch, httpx.Client(trust_env=False, timeout=TIMEOUT_S) as client:
            for _ in range(rounds):
                _wait_until(lambda: not _alive(watch.replicas()))
                asked_s = watch.now_s()
                asleep.append(_post(client, url, picture))
                awake.append(_post(client, url, picture))
                replica = max(watch.replicas(), key=lambda each: each.began_s)
                processes.append((replica.began_s - asked_s, replica.titles[-1][0] - replica.began_s))
    print("wake: seconds, median")
    print(f"  {'the request that wakes it':44}{statistics.median(asleep):8.2f}")
    print(f"  {'until the replica has a process':44}{statistics.median(first for first, _ in processes):8.2f}")
    print(f"  {'from there until it is ready':44}{statistics.median(second for _, second in processes):8.2f}")
    print(f"  {'the request after it':44}{statistics.median(awake):8.2f}")


def report_kill(work: Path, reference: str, picture: Path, rounds: int) -> None:
    """Print how long it takes until another replica answers in the place of one that was killed."""
    scaling, taken, lost = {"minReplicas": 2, "maxReplicas": 2}, [], []
    with detached(work, reference, autoscaling=scaling, resources={"cpus": max(1, _cores() // 2)}):
        pid, url = _running()
        (metrics,) = Path(tempfile.gettempdir()).glob(f"graft-{pid}-*/metrics")
        with Watch(pid) as watch, httpx.Client(trust_env=False, timeout=TIMEOUT_S) as client:
            for _ in range(rounds):
                while len(_answering(_alive(watch.replicas()), metrics)) < 2:
                    _post(client, url, picture)
                load = threading.Thread(target=lambda: lost.append(wrk(url, picture, 8, 15)))
                load.start()
                time.sleep(3)
                before = {each.pid for each in _alive(watch.replicas())}
                killed_s = watch.now_s()
                psutil.Process(min(before)).kill()
                _wait_until(lambda: bool(_new(watch.replicas(), before, metrics)))  # noqa: B023 (called at once)
                (replica,) = _new(watch.replicas(), before, metrics)
                taken.append((replica.began_s - killed_s, watch.now_s() - killed_s))
                load.join()
    print("kill: seconds after `kill -9` of one of two replicas, median")
    print(f"  {'another process begins':44}{statistics.median(first for first, _ in taken):8.2f}")
    print(f"  {'it has answered a request':44}{statistics.median(second for _, second in taken):8.2f}")
    print(f"  {'requests that were lost, of all':44}{sum(each[1] for each in lost)} of {sum(each[0] for each in lost)}")


def _new(replicas: list[Seen], before: set[int], metrics: Path) -> list[Seen]:
    return [each for each in _answering(_alive(replicas), metrics) if each.pid not in before]


def _alive(replicas: list[Seen]) -> list[Seen]:
    return [each for each in replicas if psutil.pid_exists(each.pid)]


def _answering(replicas: list[Seen], metrics: Path) -> list[Seen]:
    """Those that have answered a request: each counts its own in a file."""
    from prometheus_client.mmap_dict import MmapedDict

    found = []
    for each in replicas:
        file = metrics / f"counter_{each.pid}.db"
        if file.is_file():
            values: Any = MmapedDict.read_all_values_from_file(str(file))  # type: ignore[no-untyped-call]
            if any("graftwork_requests" in key and value > 0 for key, value, *_ in values):
                found.append(each)
    return found


def _running() -> tuple[int, str]:
    """The endpoint's process, and where it predicts."""
    from graftwork.endpoint_state import running_endpoint
    from graftwork.settings import load_settings

    state = running_endpoint(load_settings().endpoints_dir, NAME)
    if state is None:
        raise SystemExit("the endpoint does not run")
    return state.pid, f"{state.url}/v1/endpoints/{NAME}/predict"


def _post(client: httpx.Client, url: str, picture: Path) -> float:
    started = time.monotonic()
    answer = client.post(url, content=picture.read_bytes())
    if not answer.is_success:
        raise SystemExit(f"status {answer.status_code}: {answer.text}")
    return time.monotonic() - started


def _wait_until(is_so: Callable[[], bool]) -> None:
    over = time.monotonic() + TIMEOUT_S
    while not is_so():
        if time.monotonic() > over:
            raise SystemExit(f"nothing changed within {TIMEOUT_S:.0f} s")
        time.sleep(LOOK_EVERY_S)


def _cores() -> int:
    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    main()
