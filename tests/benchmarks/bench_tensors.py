"""What a request costs beside its model: small binary tensors to one dense layer, from one run.

    python -m tests.benchmarks.bench_tensors [--rounds 3] [--seconds 4]

Sides, each one replica that is asked over 1, 8 and 32 connections by `wrk`, which shares the machine with it:

* endpoint: `graft serve` of a model of one dense layer (192 numbers to 10 classes), asked with tensors in the binary
  extension of the Open Inference Protocol, scores back in the same form;
* constant: the same Ray Serve with the same settings around an application that reads the same body and answers with
  a constant: what is left when everything of Graftwork's is taken away.

Sides take turns round by round; each figure is the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil

from tests.benchmarks.bench_serving import ROOT, START_TIMEOUT_S, free_port, stop

CONNECTIONS = (1, 8, 32)
SIDE = 8
LABELS = 10

CONSTANT = """
import signal, sys
from pathlib import Path

class Constant:
    def __serve_build_asgi_app__(self):
        async def answer(scope, receive, send):
            if scope["type"] == "lifespan":
                for step in ("startup", "shutdown"):
                    await receive()
                    await send({"type": f"lifespan.{step}.complete"})
                return
            while (await receive()).get("more_body"):
                pass
            headers = [(b"content-type", b"application/octet-stream"), (b"content-length", b"40")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": bytes(40)})
        return answer

if __name__ == "__main__":
    from graftwork.progress import SilentReporter
    from graftwork_serving.local_cluster import start_cluster
    from graftwork_serving.spec_file import load_endpoint

    endpoint = load_endpoint(Path(sys.argv[1])).endpoint
    with start_cluster(endpoint, log_dir=Path(sys.argv[1]).parent / "logs", reporter=SilentReporter()) as cluster:
        from ray import serve
        cluster._starting.result()
        made = serve.deployment(max_ongoing_requests=1024, ray_actor_options={"num_cpus": 0})(serve.ingress()(Constant))
        serve.run(made.bind(), name="endpoint", route_prefix="/")
        signal.sigwait({signal.SIGTERM})
"""


def main() -> None:
    """Start both sides, take turns, print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed. Debian: apt-get install wrk")
    rates: dict[tuple[str, int], list[tuple[float, float, float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as folder, ExitStack() as stack:
        work = Path(folder)
        build_bundle(work)
        write_request(work)
        sides = {name: stack.enter_context(serve(name, work)) for name in ("endpoint", "constant")}
        for turn in range(arguments.rounds + 1):
            for connections in CONNECTIONS:
                for name, (pid, url) in sides.items():
                    seen = load(work, url, pid, connections=connections, seconds=arguments.seconds)
                    if turn:  # the first turn warms up
                        rates.setdefault((name, connections), []).append(seen)
    report(rates)


def build_bundle(work: Path) -> None:
    """A bundle of one dense layer, made in a process of its own; needs Keras."""
    code = f"""
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
import keras
from tests.support.bundles import write_bundle
keras.utils.set_random_seed(0)
image = keras.Input(({SIDE}, {SIDE}, 3), name="image")
x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
model = keras.Model(image, keras.layers.Dense({LABELS}, activation="softmax", name="scores")(x))
write_bundle(model, Path({str(work)!r}) / "dense", labels=[f"class {{index}}" for index in range({LABELS})])
"""
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL, cwd=ROOT)


def write_request(work: Path) -> None:
    """The request's body, and the script that lets `wrk` send it."""
    values = bytes(range(SIDE * SIDE * 3))
    tensor = {"name": "image", "datatype": "UINT8", "shape": [1, SIDE, SIDE, 3]}
    document = {
        "inputs": [{**tensor, "parameters": {"binary_data_size": len(values)}}],
        "outputs": [{"name": "scores", "parameters": {"binary_data": True}}],
    }
    head = json.dumps(document).encode()
    (work / "body").write_bytes(head + values)
    (work / "post.lua").write_text(
        f'local f = io.open("{work / "body"}", "rb")\nwrk.body = f:read("*a")\nf:close()\nwrk.method = "POST"\n'
        'wrk.headers["Content-Type"] = "application/octet-stream"\n'
        f'wrk.headers["Inference-Header-Content-Length"] = "{len(head)}"\n'
        "done = function(s, l, r) io.write(string.format('RESULT %d %d %f %f %f\\n', s.requests, s.errors.status, "
        "l:percentile(50), l:percentile(99), s.duration)) end\n"
    )


@contextmanager
def serve(name: str, work: Path) -> Iterator[tuple[int, str]]:
    """Run a side; gives its process and what to ask."""
    port = free_port()
    spec = work / f"{name}.yaml"
    content = {
        "apiVersion": "graftwork.dev/v1alpha1",
        "kind": "InferenceEndpoint",
        "metadata": {"name": name},
        "spec": {"models": [{"model": str(work / "dense")}], "http": {"port": port}},
    }
    spec.write_text(json.dumps(content))
    script = work / f"{name}.py"
    script.write_text("from graftwork.cli.main import main; main()" if name == "endpoint" else CONSTANT)
    command = [sys.executable, str(script), *(["serve"] if name == "endpoint" else []), str(spec)]
    environment = {**os.environ, "GRAFT_HOME": str(work / f"home-{name}")}  # noqa: TID251 (handed on to the server)
    with (work / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}/v2/models/dense/infer"
    try:
        over = time.monotonic() + START_TIMEOUT_S
        while not _answers(url, work):
            if process.poll() is not None or time.monotonic() > over:
                raise SystemExit((work / f"{name}.log").read_text())
            time.sleep(0.2)
        yield process.pid, url
    finally:
        stop(process)


def _answers(url: str, work: Path) -> bool:
    length = re.search(r'Length"\] = "(\d+)"', (work / "post.lua").read_text())
    headers = {
        "inference-header-content-length": length[1] if length else "",
        "content-type": "application/octet-stream",
    }
    try:
        answer = httpx.post(url, content=(work / "body").read_bytes(), headers=headers, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.is_success


def load(work: Path, url: str, pid: int, *, connections: int, seconds: int) -> tuple[float, float, float, float]:
    """Answers a second, median and 99th percentile in ms, and the replica's CPU in ms a request."""
    # What a replica has forked has its name for a moment; the replica itself is older.
    replica = min(
        (
            each
            for each in psutil.Process(pid).children(recursive=True)
            if "ServeReplica" in "".join(each.cmdline()[:1])
        ),
        key=lambda each: each.create_time(),
    )
    before = sum(replica.cpu_times()[:2])
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(work / "post.lua"), url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"RESULT (\d+) (\d+) (\S+) (\S+) (\S+)", output)
    if found is None or int(found[2]):
        raise SystemExit(f"not every request was answered:\n{output}")
    cpu_ms = 1000 * (sum(replica.cpu_times()[:2]) - before) / int(found[1])
    return int(found[1]) / (float(found[5]) / 1e6), float(found[3]) / 1e3, float(found[4]) / 1e3, cpu_ms


def report(rates: dict[tuple[str, int], list[tuple[float, float, float, float]]]) -> None:
    """Print medians, and both sides beside each other."""
    medians = {key: [statistics.median(column) for column in zip(*seen, strict=True)] for key, seen in rates.items()}
    columns = ("connections", "requests/s", "p50 ms", "p99 ms", "replica's CPU ms/req")
    print(f"{'side':10}" + "".join(f"{column:>{len(column) + 4}}" for column in columns))
    for (name, connections), figures in sorted(medians.items(), key=lambda item: item[0][1]):
        row = (connections, *figures)
        print(
            f"{name:10}"
            + "".join(f"{figure:{len(column) + 4}.2f}" for figure, column in zip(row, columns, strict=True))
        )
    for connections in CONNECTIONS:
        share = medians["endpoint", connections][0] / medians["constant", connections][0]
        print(f"endpoint / constant at {connections}: {share:.2f} times the requests")


if __name__ == "__main__":
    main()
