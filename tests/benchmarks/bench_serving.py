"""Served latency and throughput: a Graftwork endpoint beside what a user would write by hand, from one run.

    python tests/benchmarks/bench_serving.py [--rounds 3] [--seconds 4]
        [--sides endpoint,fastapi,predict,engine,decoded,loop] [--connections 1,8,32]

Sides, all with EfficientNet-Lite0 at 224 px (1,000 labels) and one 35 KB JPEG:

* endpoint: `graft serve` (Ray Serve, HAProxy, OpenVINO) with all cores;
* keyed: the same, asking for an API key with a rate limit that is never reached;
* bfloat16: the same as endpoint, with `precision: bfloat16`;
* gpu, gpu-bfloat16: the same with `resources: {gpus: 1}`, and with `precision: bfloat16` besides;
* fastapi-gpu: the Keras model on JAX, compiled for one picture, behind FastAPI as below;
* fastapi: the same OpenVINO model behind FastAPI and uvicorn, decoding and inference in FastAPI's thread pool;
* predict: the Ray Serve documentation's way: a deployment with `await request.body()` and `keras.Model.predict`;
* engine: the OpenVINO model alone, called by as many threads as there are cores, no decoding and no HTTP;
* decoded: the same with decoding, still without HTTP: what a server that costs nothing would answer;
* loop: one thread that decodes and then computes with all cores: the latency of a server that costs nothing.

Sides take turns round by round, so that a busy machine disturbs all of them alike; each figure is the median of the
rounds. CPU milliseconds a request (all processes of a side) depend least on what else the machine does. Load comes from
`wrk` (Debian: apt-get install wrk), or, without it, from a Python client that costs more CPU itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

MODEL_DIR = ROOT / "examples" / "efficientnet_lite0"
# Sides without a server.
BARE = ("engine", "decoded", "loop")
FIGURES = ("rate", "p50_ms", "p99_ms", "cpu_ms")
START_TIMEOUT_S = 240
SIDE = 224

FASTAPI_SERVER = """
import io, json, os, sys
import numpy as np, openvino
from fastapi import FastAPI, Request
from PIL import Image
from starlette.concurrency import run_in_threadpool

folder = sys.argv[1]
labels = json.load(open(f"{folder}/manifest.json"))["output"]["labels"]
compiled = openvino.Core().compile_model(f"{folder}/openvino/model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
app = FastAPI()

def classify(data):
    image = Image.open(io.BytesIO(data)).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.float32)[None]
    scores = compiled.create_infer_request().infer({0: pixels})[0][0]
    best = np.argsort(-scores)[:5]
    return {"label": labels[best[0]], "score": float(scores[best[0]]),
            "scores": {labels[index]: float(scores[index]) for index in best}}

@app.post("/predict")
async def predict(request: Request):
    return await run_in_threadpool(classify, await request.body())

if __name__ == "__main__":
    import uvicorn
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
"""

PREDICT_SERVER = """
import io, json, os, signal, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import ray
from ray import serve

@serve.deployment(ray_actor_options={"num_cpus": 1})
class Classifier:
    def __init__(self, folder):
        import keras
        self.model = keras.models.load_model(f"{folder}/model.keras")
        self.labels = json.load(open(f"{folder}/manifest.json"))["output"]["labels"]

    async def __call__(self, request):
        import numpy as np
        from PIL import Image
        image = Image.open(io.BytesIO(await request.body())).convert("RGB").resize((224, 224))
        scores = self.model.predict(np.asarray(image, dtype=np.float32)[None], verbose=0)[0]
        best = np.argsort(-scores)[:5]
        return {"scores": {self.labels[index]: float(scores[index]) for index in best}}

if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
    serve.run(Classifier.bind(sys.argv[1]), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    ray.shutdown()
"""


KERAS_SERVER = FASTAPI_SERVER.replace(
    'compiled = openvino.Core().compile_model(f"{folder}/openvino/model.xml", "CPU", '
    '{"INFERENCE_PRECISION_HINT": "f32"})',
    'os.environ["KERAS_BACKEND"] = "jax"\nimport jax, keras\nmodel = keras.models.load_model(f"{folder}/model.keras")\n'
    "compiled = jax.jit(lambda pixels: model(pixels, training=False))",
).replace("compiled.create_infer_request().infer({0: pixels})[0][0]", "np.asarray(compiled(pixels))[0]")

# What each endpoint's spec says besides.
ENDPOINTS = {
    "endpoint": "",
    "keyed": ", auth: {apiKeys: {file: keys.yaml}}",
    "bfloat16": ", precision: bfloat16",
    "gpu": ", resources: {gpus: 1}",
    "gpu-bfloat16": ", resources: {gpus: 1}, precision: bfloat16",
}
BY_HAND = {"fastapi": FASTAPI_SERVER, "fastapi-gpu": KERAS_SERVER, "predict": PREDICT_SERVER}


@dataclass(frozen=True, kw_only=True)
class Load:
    """What one load run saw.

    Attributes:
        rate: answers a second.
        p50_ms: median latency in milliseconds.
        p99_ms: 99th percentile in milliseconds.
        cpu_ms: CPU milliseconds of all server processes an answer.
        failures: answers other than 2xx.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    failures: int


def main() -> None:
    """Start the sides, take turns, print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--sides", default="endpoint,fastapi,predict,engine,decoded,loop")
    parser.add_argument("--connections", default="1,8,32")
    arguments = parser.parse_args()
    sides = arguments.sides.split(",")
    counts = [int(each) for each in arguments.connections.split(",")]
    if shutil.which("wrk") is None:
        print("wrk is not installed (Debian: apt-get install wrk); the Python client takes part of the CPU itself.")
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as folder, ExitStack() as stack:
        work = Path(folder)
        bundle, picture = build_bundle(work)
        _key(work)
        print(f"picture: {picture.stat().st_size:,} bytes; cores: {len(os.sched_getaffinity(0))}")
        servers = {name: stack.enter_context(start_server(name, bundle, work)) for name in sides if name not in BARE}
        results: dict[tuple[str, int], list[Load]] = {}
        for turn in range(arguments.rounds + 1):
            for connections in counts:
                for name, (pid, url) in servers.items():
                    load = run_load(url, pid, picture, connections=connections, seconds=arguments.seconds)
                    if turn:  # the first turn warms up
                        results.setdefault((name, connections), []).append(load)
            for name in BARE:
                if name in sides:
                    seen = bare_load(name, bundle, picture, seconds=arguments.seconds)
                    if turn:
                        results.setdefault((name, 0), []).append(seen)
        report(results, counts)


def build_bundle(work: Path) -> tuple[Path, Path]:
    """A bundle of EfficientNet-Lite0 with its ImageNet classes, and a JPEG of 35 KB."""
    code = f"""
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
import keras
from tests.benchmarks.bench_serving import make_picture
from tests.support.bundles import write_bundle
logits = keras.models.load_model({str(MODEL_DIR / "efficientnet_lite0.keras")!r})
model = keras.Model(logits.input, keras.layers.Softmax(name="scores")(logits.output))
picture = Path({str(work)!r}) / "picture.jpg"
make_picture(picture)
labels = [f"class {{index}}" for index in range(logits.output_shape[-1])]
write_bundle(model, Path({str(work)!r}) / "bundle", labels=labels, pictures=[picture.read_bytes()])
"""
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)
    return work / "bundle", work / "picture.jpg"


def make_picture(file: Path, *, wanted_bytes: int = 35_000) -> None:
    """A 451 x 300 JPEG with photo-like content (detail that falls off with frequency) of about 35 KB."""
    import numpy as np
    from PIL import Image

    width, height = 451, 300
    random = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij"))
    spectrum = random.normal(size=(3, height, width)) + 1j * random.normal(size=(3, height, width))
    content = np.fft.ifft2(spectrum / (frequency + 0.01) ** 1.3).real.transpose(1, 2, 0)
    content = (content - content.min()) / (content.max() - content.min()) * 255
    image = Image.fromarray(content.astype(np.uint8))
    for quality in range(98, 10, -1):
        image.save(file, quality=quality)
        if file.stat().st_size <= wanted_bytes:
            return


@contextmanager
def start_server(name: str, bundle: Path, work: Path) -> Iterator[tuple[int, str]]:
    """Start a side; gives its process and the URL to post to."""
    port = free_port()
    log = (work / f"{name}.log").open("wb")
    environment = dict(os.environ)  # noqa: TID251 (handed on to the servers)
    match name:
        case _ if name in ENDPOINTS:
            spec, more = work / f"{name}.yaml", ENDPOINTS[name]
            spec.write_text(
                "apiVersion: graftwork.dev/v1alpha1\nkind: InferenceEndpoint\nmetadata: {name: bench}\n"
                f"spec: {{models: [{{model: {bundle}}}], http: {{port: {port}}}{more}}}\n"
            )
            environment["GRAFT_HOME"] = str(work / f"home-{name}")
            command = ["-c", "from graftwork.cli.main import main; main()", "serve", str(spec)]
            url = f"http://127.0.0.1:{port}/v1/endpoints/bench/predict"
        case _ if name in BY_HAND:
            script = work / f"{name}_server.py"
            script.write_text(BY_HAND[name])
            command = [str(script), str(bundle), str(port)]
            url = f"http://127.0.0.1:{port}/predict"
        case _:
            raise SystemExit(f"There is no side {name!r}.")
    process = subprocess.Popen([sys.executable, *command], env=environment, stdout=log, stderr=log, cwd=work)
    try:
        wait_until_it_answers(process, url, work / "picture.jpg", work / f"{name}.log", key=_key(work))
        yield process.pid, url
    finally:
        stop(process)


def run_load(url: str, pid: int, picture: Path, *, connections: int, seconds: int) -> Load:
    """Post the picture over some connections for some seconds."""
    root = psutil.Process(pid)
    processes = [root, *root.children(recursive=True)]
    before = _cpu_seconds(processes)
    if shutil.which("wrk") is None:
        latencies, failures, elapsed_s = asyncio.run(
            _python_load(url, picture.read_bytes(), _key(picture.parent), connections, seconds)
        )
        count = len(latencies)
        ordered = sorted(latencies)
        p50_ms, p99_ms = 1000 * ordered[count // 2], 1000 * ordered[min(count - 1, int(count * 0.99))]
    else:
        count, failures, p50_ms, p99_ms, elapsed_s = wrk(url, picture, connections, seconds)
    cpu_s = _cpu_seconds(processes) - before
    return Load(rate=count / elapsed_s, p50_ms=p50_ms, p99_ms=p99_ms, cpu_ms=1000 * cpu_s / count, failures=failures)


def bare_load(name: str, bundle: Path, picture: Path, *, seconds: int) -> Load:
    """The model in this process, single pictures."""
    import numpy as np

    from graftwork.preprocess.image import ImageSpec, decode_image
    from graftwork_serving.engine import EngineOptions, OpenVinoEngine
    from graftwork_serving.network import read_network

    cores = len(os.sched_getaffinity(0))
    options = EngineOptions(threads=cores, max_batch_size=1)
    image = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    read = partial(read_network, bundle / "openvino/model.xml")
    engine = OpenVinoEngine(read, row_shape=(SIDE, SIDE, 3), trial=image, options=options)
    content, spec = picture.read_bytes(), ImageSpec(height=SIDE, width=SIDE)
    latencies: list[float] = []
    over = time.perf_counter() + seconds
    before = _cpu_seconds([psutil.Process()])

    def work() -> None:
        while time.perf_counter() < over:
            started = time.perf_counter()
            pixels = image if name == "engine" else decode_image(content, spec, max_pixels=10**7)
            engine.predict(pixels[None], alone=name == "loop")
            latencies.append(time.perf_counter() - started)

    workers = [threading.Thread(target=work) for _ in range(1 if name == "loop" else cores)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    cpu_s = _cpu_seconds([psutil.Process()]) - before
    ordered = sorted(latencies)
    return Load(
        rate=len(ordered) / seconds,
        p50_ms=1000 * ordered[len(ordered) // 2],
        p99_ms=1000 * ordered[int(len(ordered) * 0.99)],
        cpu_ms=1000 * cpu_s / len(ordered),
        failures=0,
    )


def report(results: dict[tuple[str, int], list[Load]], counts: list[int]) -> None:
    """Print medians, and the endpoint beside each other side."""
    medians = {
        key: [
            statistics.median(getattr(load, field) for load in loads)
            for field in ("rate", "p50_ms", "p99_ms", "cpu_ms")
        ]
        for key, loads in results.items()
    }
    print(
        f"{'side':13}{'connections':>12}{'requests/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'CPU ms/req':>12}{'failed':>8}"
    )
    for (name, connections), (rate, p50_ms, p99_ms, cpu_ms) in sorted(medians.items(), key=lambda item: item[0][1]):
        failed = sum(load.failures for load in results[name, connections])
        shown = str(connections) if connections else "-"
        print(f"{name:13}{shown:>12}{rate:12.1f}{p50_ms:10.1f}{p99_ms:10.1f}{cpu_ms:12.2f}{failed:8}")
    for name, _ in sorted(medians):
        for connections in counts if name in BARE else ():
            if ("endpoint", connections) in medians:
                rate, p50_ms, *_ = medians["endpoint", connections]
                print(
                    f"endpoint at {connections} / {name}: {rate / medians[name, 0][0]:.2f} times the requests, "
                    f"p50 {p50_ms - medians[name, 0][1]:+.1f} ms"
                )
    for (name, connections), (rate, *_, cpu_ms) in sorted(medians.items()):
        ours = medians.get(("endpoint", connections))
        if ours is not None and name != "endpoint":
            print(
                f"endpoint / {name} at {connections}: {ours[0] / rate:.2f} times the requests, "
                f"{ours[3] / cpu_ms:.2f} times the CPU a request"
            )


def wrk(url: str, picture: Path, connections: int, seconds: int) -> tuple[int, int, float, float, float]:
    """Post the picture with `wrk`: answers, those other than 2xx, median and 99th percentile in ms, seconds."""
    script = picture.with_name("post.lua")
    script.write_text(
        f'local f = io.open("{picture}", "rb")\nwrk.body = f:read("*a")\nf:close()\n'
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "image/jpeg"\n'
        f'wrk.headers["x-api-key"] = "{_key(picture.parent)}"\n'
        "done = function(s, l, r) io.write(string.format('RESULT %d %d %f %f %f\\n', s.requests, s.errors.status, "
        "l:percentile(50), l:percentile(99), s.duration)) end\n"
    )
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"RESULT (\d+) (\d+) (\S+) (\S+) (\S+)", output)
    if found is None:
        raise SystemExit(f"wrk said something unexpected:\n{output}")
    count, failures = int(found[1]), int(found[2])
    return count, failures, float(found[3]) / 1e3, float(found[4]) / 1e3, float(found[5]) / 1e6


async def _python_load(
    url: str, body: bytes, key: str, connections: int, seconds: int
) -> tuple[list[float], int, float]:
    import httpx

    latencies: list[float] = []
    failures = 0
    headers = {"content-type": "image/jpeg", "x-api-key": key}
    over = time.perf_counter() + seconds
    started = time.perf_counter()
    async with httpx.AsyncClient(
        trust_env=False, timeout=30, limits=httpx.Limits(max_connections=connections)
    ) as client:

        async def ask() -> None:
            nonlocal failures
            while time.perf_counter() < over:
                sent = time.perf_counter()
                response = await client.post(url, content=body, headers=headers)
                latencies.append(time.perf_counter() - sent)
                failures += not response.is_success

        await asyncio.gather(*(ask() for _ in range(connections)))
    return latencies, failures, time.perf_counter() - started


def stop(process: subprocess.Popen[bytes]) -> None:
    """Let a server finish and end."""
    process.send_signal(signal.SIGTERM)
    process.wait(90)


def wait_until_it_answers(
    process: subprocess.Popen[bytes], url: str, picture: Path, log: Path, *, key: str = ""
) -> None:
    """Ask until there is an answer; give up when the process ends or the time is over."""
    import httpx

    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            response = httpx.post(
                url, content=picture.read_bytes(), headers={"x-api-key": key}, trust_env=False, timeout=30
            )
            if response.is_success:
                json.loads(response.content)
                return
        except httpx.HTTPError:
            pass  # not up yet
        time.sleep(0.2)
    process.kill()
    raise SystemExit(f"{url} did not come up:\n{log.read_text(errors='replace')}")


def _cpu_seconds(processes: list[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def _key(work: Path) -> str:
    """The key that all sides are sent, and that `keyed` asks for; made at the first call."""
    from graftwork.api_keys import KeyFile, new_key, write_key_file

    file = work / "key"
    if not file.exists():
        key, entry = new_key("bench", requests_per_second=1e6)
        write_key_file(work / "keys.yaml", KeyFile(keys=[entry]))
        file.write_text(key)
    return file.read_text()


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
