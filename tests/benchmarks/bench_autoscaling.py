"""A step load from 1 to 64 clients and back on an endpoint that scales, and the wait of the first request after sleep.

    python tests/benchmarks/bench_autoscaling.py [--steps 1,64,1] [--seconds 30] [--replicas 2]

Starts an endpoint of a small model with `minReplicas: 0`, `upscaleDelaySeconds: 2`, `downscaleDelaySeconds: 5`. For
each step prints how many replicas ran second by second and why (from the endpoint's own metrics), requests a second,
latency and refusals; load comes from `wrk` (Debian: apt-get install wrk). Then lets it go to sleep and times the
request that wakes it, beside one that finds it awake.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from tests.benchmarks.bench_serving import wrk  # noqa: E402 (needs the path above)

START_TIMEOUT_S = 300
SPEC = """
apiVersion: graftwork.dev/v1alpha1
kind: InferenceEndpoint
metadata: {{name: step}}
spec:
  models: [{{model: {bundle}, name: step}}]
  http: {{port: {port}}}
  resources: {{cpus: 1}}
  autoscaling:
    {{minReplicas: 0, maxReplicas: {replicas}, targetOngoingRequests: 8, upscaleDelaySeconds: 2,
     downscaleDelaySeconds: 5}}
"""


@dataclass(kw_only=True)
class Step:
    """What some clients saw."""

    clients: int
    answers: int = 0
    failures: int = 0
    p50_ms: float = 0
    p99_ms: float = 0
    seconds: float = 0
    timeline: list[str] = field(default_factory=list)


def main() -> None:
    """Start, step, sleep, wake."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", default="1,64,1")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--replicas", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="graft-step-") as folder:
        work = Path(folder)
        picture = build_bundle(work)
        with endpoint(work, replicas=arguments.replicas) as url:
            steps = [
                asyncio.run(step(url, picture, clients=int(clients), seconds=arguments.seconds))
                for clients in arguments.steps.split(",")
            ]
            report(steps)
            report_wake(url, picture.read_bytes())


def build_bundle(work: Path) -> Path:
    """A bundle of a small network, made in a process of its own; gives the file of a picture for it."""
    code = (
        "import os, sys; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'; sys.path.insert(0, sys.argv[1]);"
        "from pathlib import Path; from tests.support.bundles import small_model, write_bundle, picture_bytes;"
        "write_bundle(small_model(seed=0), Path(sys.argv[2]) / 'bundle');"
        "(Path(sys.argv[2]) / 'picture.png').write_bytes(picture_bytes(seed=1))"
    )
    subprocess.run([sys.executable, "-c", code, str(ROOT), str(work)], check=True, capture_output=True)
    return work / "picture.png"


@contextmanager
def endpoint(work: Path, *, replicas: int) -> Iterator[str]:
    """`graft serve`; gives its URL."""
    from graftwork.settings import child_environment

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (work / "step.yaml").write_text(SPEC.format(bundle=work / "bundle", port=port, replicas=replicas))
    command = [sys.executable, "-c", "from graftwork.cli.main import main; main()", "serve", str(work / "step.yaml")]
    environment = child_environment({"GRAFT_HOME": str(work)})
    with (work / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while b"answers at" not in (work / "serve.log").read_bytes():
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit((work / "serve.log").read_text())
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(90)


async def step(url: str, picture: Path, *, clients: int, seconds: int) -> Step:
    """Some connections over which `wrk` asks one request after the other, while the metrics are watched."""
    seen, started = Step(clients=clients), time.monotonic()
    load = asyncio.create_task(asyncio.to_thread(wrk, f"{url}/v1/endpoints/step/predict", picture, clients, seconds))
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        while not load.done():
            moment = await state(client, url)
            if not seen.timeline or not seen.timeline[-1].endswith(moment):
                seen.timeline.append(f"{time.monotonic() - started:5.1f} s  {moment}")
            await asyncio.wait([load], timeout=0.5)
    seen.answers, seen.failures, seen.p50_ms, seen.p99_ms, seen.seconds = await load
    return seen


async def state(client: httpx.AsyncClient, url: str) -> str:
    """Replicas and reasons, from the endpoint's metrics."""
    text = (await client.get(f"{url}/metrics")).text
    replicas = dict(re.findall(r'graftwork_replicas\{[^}]*state="(\w+)"\} (\d+)', text))
    held = re.findall(r'graftwork_scaling_held\{[^}]*reason="([\w-]+)"\}', text)
    decisions = re.findall(r'graftwork_scaling_decisions_total\{[^}]*reason="(\w+)"\} (\d+)', text)
    words = " ".join(f"{reason}={count}" for reason, count in decisions)
    return (
        f"{replicas.get('running')} run, {replicas.get('wanted')} wanted, {''.join(held)}; decisions: {words or 'none'}"
    )


def report(steps: list[Step]) -> None:
    """Print all steps."""
    for each in steps:
        print(
            f"{each.clients} clients: {each.answers / each.seconds:.0f} requests/s, p50 {each.p50_ms:.1f} ms, "
            f"p99 {each.p99_ms:.1f} ms, {each.failures} not answered with 200"
        )
        print("".join(f"  {line}\n" for line in each.timeline), end="")


def report_wake(url: str, picture: bytes) -> None:
    """Print how long the request takes that wakes a sleeping endpoint."""
    # Nothing is asked meanwhile: a look at the metrics would wake it.
    time.sleep(30)
    with httpx.Client(trust_env=False, timeout=120) as client:
        times = []
        for _ in range(2):
            sent = time.monotonic()
            answer = client.post(f"{url}/v1/endpoints/step/predict", content=picture)
            times.append(time.monotonic() - sent)
            print(f"status {answer.status_code} after {times[-1]:.3f} s")
        decisions = client.get(f"{url}/metrics").text
    woken = re.search(r'reason="wake"\} (\d+)', decisions)
    print(f"asleep {times[0]:.2f} s, awake {times[1]:.3f} s; woken {woken[1] if woken else 0} times")


if __name__ == "__main__":
    main()
