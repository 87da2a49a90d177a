"""Two hundred heads on one trunk beside one model alone: memory, start and throughput, from one run.

    python -m tests.benchmarks.bench_models [--heads 200] [--seconds 4] [--rounds 3] [--work FOLDER]

Both sides are `graft serve` endpoints with EfficientNet-Lite0 at 224 px and heads of ten labels, asked for one 35 KB
JPEG over 8 and 32 connections by `wrk`; requests for the many are spread over all of them evenly. Sides take turns
round by round. Memory is what the replica process keeps resident after the load (USS: what would be free if it ended).

Bundles of the further heads are the first one's with other weights in the last layer. They hold no `model.keras`, which
serving does not read. `--work` keeps them for the next run.
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
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.benchmarks.bench_serving import ROOT, free_port, make_picture, stop, wait_until_it_answers

CONNECTIONS = (8, 32)
LABELS = 10


@dataclass(frozen=True, kw_only=True)
class Side:
    """A running endpoint.

    Attributes:
        name: of the side.
        url: of the endpoint.
        pid: of `graft serve`.
        models: names of its models.
        start_s: how long it took to answer.
    """

    name: str
    url: str
    pid: int
    models: list[str]
    start_s: float


def main() -> None:
    """Make bundles, start both sides, take turns, print one table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--heads", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path)
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed. Debian: apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as folder, ExitStack() as stack:
        work = arguments.work or Path(folder)
        bundles, picture = make_bundles(work, arguments.heads)
        sides = [
            stack.enter_context(serve("one", bundles[:1], picture)),
            stack.enter_context(serve("many", bundles, picture)),
        ]
        rates: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
        for turn in range(arguments.rounds + 1):
            for connections in CONNECTIONS:
                for side in sides:
                    seen = load(side, picture, connections=connections, seconds=arguments.seconds)
                    if turn:  # the first turn warms up
                        rates.setdefault((side.name, connections), []).append(seen)
        report(sides, rates)


def make_bundles(work: Path, heads: int) -> tuple[list[Path], Path]:
    """The bundles, and the picture they are asked about; what is there already is kept."""
    work.mkdir(parents=True, exist_ok=True)
    picture = work / "picture.jpg"
    if not picture.is_file():
        make_picture(picture)
    first = work / "bundles" / "head-0"
    if not (first / "manifest.json").is_file():
        shutil.rmtree(first, ignore_errors=True)
        code = f"from tests.benchmarks.bench_models import write_first; write_first({str(first)!r}, {str(picture)!r})"
        subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL, cwd=ROOT)
    bundles = [work / "bundles" / f"head-{number}" for number in range(heads)]
    if missing := [bundle for bundle in bundles if not (bundle / "manifest.json").is_file()]:
        write_further(first, missing)
    return bundles, picture


def write_first(bundle: str, picture: str) -> None:
    """A bundle of EfficientNet-Lite0 with a new head; needs Keras."""
    import keras

    from tests.support.bundles import write_bundle

    keras.utils.set_random_seed(0)
    base = keras.models.load_model(ROOT / "examples/efficientnet_lite0/efficientnet_lite0.keras")
    logits = keras.layers.Dense(LABELS)(base.get_layer("pool").output)
    model = keras.Model(base.input, keras.layers.Softmax(name="scores")(logits))
    labels = [f"class {index}" for index in range(LABELS)]
    write_bundle(model, Path(bundle), labels=labels, pictures=[Path(picture).read_bytes()])


def write_further(first: Path, bundles: list[Path]) -> None:
    """Bundles like the first one, each with a random last layer of its own."""
    import numpy as np
    import openvino

    from graftwork.bundle.directory import open_bundle, seal_bundle
    from graftwork.bundle.manifest import OPENVINO_MODEL_FILE
    from graftwork.preprocess.inputs import read_batch
    from graftwork_serving.network import read_network, split, trunk_of

    opened = open_bundle(first)
    file = first / OPENVINO_MODEL_FILE
    parts = split(read_network(file))
    if parts is None:
        raise SystemExit("the network cannot be cut")
    (golden,) = opened.manifest.golden
    trunk = openvino.Core().compile_model(trunk_of(file, parts.cut), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    batch = read_batch([(first / golden.file).read_bytes()], opened.input)
    features = np.array(trunk(batch.astype(np.float32))[0])
    for number, bundle in enumerate(bundles):
        shutil.rmtree(bundle, ignore_errors=True)
        shutil.copytree(first, bundle, ignore=shutil.ignore_patterns("manifest.json", "model.keras", "model.*"))
        model = openvino.Core().read_model(file)
        constants = [op for op in model.get_ops() if op.get_type_name() == "Constant"]
        (old,) = [op for op in constants if op.data.shape == (LABELS, features.shape[1])]
        weights = np.random.default_rng(number).normal(0, 0.05, (LABELS, features.shape[1])).astype(np.float32)
        new = openvino.opset13.constant(weights)
        for target in old.output(0).get_target_inputs():
            target.replace_source_output(new.output(0))
        openvino.save_model(model, bundle / OPENVINO_MODEL_FILE, compress_to_fp16=False)
        logits = features @ weights.T
        powers = np.exp(logits - logits.max())
        example = golden.model_copy(update={"scores": (powers / powers.sum())[0].tolist()})
        seal_bundle(bundle, opened.manifest.model_copy(update={"golden": [example]}))


@contextmanager
def serve(name: str, bundles: list[Path], picture: Path) -> Iterator[Side]:
    """Run an endpoint of some bundles."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="graft-bench-home-") as home:
        spec = Path(home) / "endpoint.yaml"
        content = {
            "apiVersion": "graftwork.dev/v1alpha1",
            "kind": "InferenceEndpoint",
            "metadata": {"name": "bench"},
            "spec": {"models": [{"model": str(bundle)} for bundle in bundles], "http": {"port": port}},
        }
        spec.write_text(json.dumps(content))
        environment = {**os.environ, "GRAFT_HOME": home}  # noqa: TID251 (handed on to the server)
        log = Path(home) / "serve.log"
        started = time.monotonic()
        command = [sys.executable, "-c", "from graftwork.cli.main import main; main()", "serve", str(spec)]
        with log.open("wb") as stream:
            process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_it_answers(process, f"{url}/v1/endpoints/bench/predict", picture, log)
            names = [bundle.name for bundle in bundles]
            yield Side(name=name, url=url, pid=process.pid, models=names, start_s=time.monotonic() - started)
        finally:
            stop(process)


def load(side: Side, picture: Path, *, connections: int, seconds: int) -> tuple[float, float, float]:
    """Answers a second, median and 99th percentile in milliseconds under load."""
    script = picture.with_name("mixed.lua")
    names = ", ".join(f'"{name}"' for name in side.models)
    script.write_text(
        f'local f = io.open("{picture}", "rb")\nlocal body = f:read("*a")\nf:close()\n'
        f"local names = {{{names}}}\nlocal turn = 0\n"
        "request = function() turn = turn % #names + 1\n"
        '  return wrk.format("POST", "/v1/endpoints/bench/predict?model=" .. names[turn], '
        '{["Content-Type"] = "image/jpeg"}, body) end\n'
        "done = function(s, l, r) io.write(string.format('RESULT %d %d %f %f %f\\n', s.requests, s.errors.status, "
        "l:percentile(50), l:percentile(99), s.duration)) end\n"
    )
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), side.url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"RESULT (\d+) (\d+) (\S+) (\S+) (\S+)", output)
    if found is None or int(found[2]):
        raise SystemExit(f"not every request was answered:\n{output}")
    return int(found[1]) / (float(found[5]) / 1e6), float(found[3]) / 1e3, float(found[4]) / 1e3


def memory_bytes(pid: int) -> int:
    """What the replica of an endpoint keeps for itself."""
    replicas = [
        process
        for process in psutil.Process(pid).children(recursive=True)
        if "ServeReplica" in "".join(process.cmdline()[:1])
    ]
    return sum(int(process.memory_full_info().uss) for process in replicas)


def report(sides: list[Side], rates: dict[tuple[str, int], list[tuple[float, float, float]]]) -> None:
    """Print medians, and the many beside the one."""
    columns = ("models", "start s", "memory MB", "connections", "req/s", "p50 ms", "p99 ms")
    print(f"{'side':8}" + "".join(f"{column:>12}" for column in columns))
    memory = {side.name: memory_bytes(side.pid) for side in sides}
    medians = {key: [statistics.median(column) for column in zip(*seen, strict=True)] for key, seen in rates.items()}
    for side in sides:
        for connections in CONNECTIONS:
            rate, p50_ms, p99_ms = medians[side.name, connections]
            figures = (side.start_s, memory[side.name] / 1e6, connections, rate, p50_ms, p99_ms)
            print(f"{side.name:8}{len(side.models):12}" + "".join(f"{figure:12.1f}" for figure in figures))
    ratios = [medians["many", count][0] / medians["one", count][0] for count in CONNECTIONS]
    shares = ", ".join(f"{ratio:.0%} at {count}" for ratio, count in zip(ratios, CONNECTIONS, strict=True))
    print(f"many / one: {memory['many'] / memory['one']:.2f} times the memory; throughput {shares} connections")


if __name__ == "__main__":
    main()
