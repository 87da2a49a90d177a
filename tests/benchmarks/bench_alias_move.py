"""What clients notice when an alias moves: latency and failures before, during and after, from one run.

    python -m tests.benchmarks.bench_alias_move [--connections 8] [--moves 3] [--window 2]

Two versions of EfficientNet-Lite0 at 224 px with heads of ten labels are registered; the second one's trunk differs,
so that the endpoint shares nothing between them. The endpoint follows `NAME@champion` every second. `wrk` asks for one
35 KB JPEG in short windows one after the other, while the alias moves to and fro. A window belongs to a move if it
began after the alias was set and before the endpoint said that the other version answers: loading, replaying and
switching included.
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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from graftwork.bundle.directory import open_bundle
from graftwork.registry.store import Registry
from graftwork.settings import Settings
from tests.benchmarks.bench_serving import free_port, make_picture, stop, wait_until_it_answers, wrk

ROOT = Path(__file__).resolve().parents[2]
MODEL, ALIAS = "bench", "champion"
LABELS = 10
_QUIET_WINDOWS = 5
_GIVE_UP_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Window:
    """What the clients saw in a stretch of time.

    Attributes:
        moving: whether an alias was being followed.
        answers: how many.
        failures: how many of them were not 2xx.
        p50_ms: median latency.
        p99_ms: 99th percentile of the latency.
    """

    moving: bool
    answers: int
    failures: int
    p50_ms: float
    p99_ms: float


def write_version(bundle: str, picture: str, seed: int) -> None:
    """A bundle of EfficientNet-Lite0 with a new head and, for each seed, another trunk; needs Keras."""
    import keras

    from tests.support.bundles import write_bundle

    keras.utils.set_random_seed(seed)
    base = keras.models.load_model(ROOT / "examples/efficientnet_lite0/efficientnet_lite0.keras")
    for variable in base.trainable_variables:
        variable.assign(variable * (1 + 0.01 * seed))
    logits = keras.layers.Dense(LABELS)(base.get_layer("pool").output)
    model = keras.Model(base.input, keras.layers.Softmax(name="scores")(logits))
    labels = [f"class {index}" for index in range(LABELS)]
    write_bundle(model, Path(bundle), labels=labels, pictures=[Path(picture).read_bytes()])


@contextmanager
def endpoint(work: Path, picture: Path) -> Iterator[str]:
    """`graft serve` of the alias; gives its URL."""
    port = free_port()
    spec = work / "endpoint.yaml"
    content = {
        "apiVersion": "graftwork.dev/v1alpha1",
        "kind": "InferenceEndpoint",
        "metadata": {"name": "bench"},
        "spec": {
            "models": [{"model": f"{MODEL}@{ALIAS}"}],
            "http": {"port": port},
            "rollout": {"followAliases": "1s"},
        },
    }
    spec.write_text(json.dumps(content))
    environment = {**os.environ, "GRAFT_HOME": str(work / "home")}  # noqa: TID251 (handed on to the server)
    command = [sys.executable, "-c", "from graftwork.cli.main import main; main()", "serve", str(spec)]
    log = work / "serve.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_it_answers(process, f"{url}/v1/endpoints/bench/predict", picture, log)
        yield url
    finally:
        stop(process)


def served_version(url: str) -> str:
    """The version that answers now, as the endpoint's model metadata say."""
    answer = httpx.get(f"{url}/v2/models/{MODEL}", trust_env=False, timeout=30)
    answer.raise_for_status()
    return str(answer.json()["versions"][-1])


class Mover:
    """Moves the alias and waits for the endpoint, beside the load.

    Attributes:
        seconds: how long each move took to be followed.
    """

    def __init__(self, registry: Registry, url: str) -> None:
        self._registry = registry
        self._url = url
        self.seconds: list[float] = []

    def move(self, version: int) -> threading.Thread:
        """Set the alias; the thread ends when the endpoint follows."""
        self._registry.set_alias(MODEL, ALIAS, version)
        thread = threading.Thread(target=self._wait, args=(version, time.monotonic()))
        thread.start()
        return thread

    def _wait(self, version: int, since: float) -> None:
        while served_version(self._url) != str(version):
            if time.monotonic() - since > _GIVE_UP_S:
                return
            time.sleep(0.2)
        self.seconds.append(time.monotonic() - since)


def window(url: str, picture: Path, connections: int, seconds: int, *, moving: bool) -> Window:
    """Load for some seconds."""
    answers, failures, p50_ms, p99_ms, _ = wrk(f"{url}/v1/endpoints/bench/predict", picture, connections, seconds)
    return Window(moving=moving, answers=answers, failures=failures, p50_ms=p50_ms, p99_ms=p99_ms)


def main() -> None:
    """Serve, load, move, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--moves", type=int, default=3)
    parser.add_argument("--window", type=int, default=2, help="seconds")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed. Debian: apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="graft-bench-") as folder:
        work = Path(folder)
        picture = work / "picture.jpg"
        make_picture(picture)
        registry = Registry(Settings.at(work / "home"))
        for seed in (0, 1):
            bundle = work / f"bundle-{seed}"
            code = (
                "from tests.benchmarks.bench_alias_move import write_version; "
                f"write_version({str(bundle)!r}, {str(picture)!r}, {seed})"
            )
            subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL, cwd=ROOT)
            registry.register(open_bundle(bundle), MODEL, ALIAS if seed == 0 else None)
        with endpoint(work, picture) as url:
            seconds, windows = measure(registry, url, picture, options)
    report(seconds, windows, options)


def measure(
    registry: Registry, url: str, picture: Path, options: argparse.Namespace
) -> tuple[list[float], list[Window]]:
    """Quiet windows, a move, quiet windows, and so on."""
    mover, windows = Mover(registry, url), list[Window]()

    def load(*, moving: bool) -> Window:
        return window(url, picture, options.connections, options.window, moving=moving)

    load(moving=False)  # warms up
    for move in range(options.moves):
        windows += [load(moving=False) for _ in range(_QUIET_WINDOWS)]
        following = mover.move(2 - move % 2)
        while following.is_alive():
            windows.append(load(moving=True))
    windows += [load(moving=False) for _ in range(_QUIET_WINDOWS)]
    return mover.seconds, windows


def report(seconds: list[float], windows: list[Window], options: argparse.Namespace) -> None:
    """Print both kinds of windows."""
    print(f"{len(seconds)} of {options.moves} moves followed, after {', '.join(f'{each:.1f}' for each in seconds)} s")
    print(f"{'windows':14}{'count':>7}{'answers/s':>11}{'failed':>8}{'p50 ms':>9}{'p99 ms':>9}{'worst p99 ms':>14}")
    p99 = {}
    for name, moving in (("quiet", False), ("during a move", True)):
        chosen = [each for each in windows if each.moving == moving]
        p99[name] = statistics.median(each.p99_ms for each in chosen)
        print(
            f"{name:14}{len(chosen):>7}{sum(each.answers for each in chosen) / len(chosen) / options.window:>11.1f}"
            f"{sum(each.failures for each in chosen):>8}{statistics.median(each.p50_ms for each in chosen):>9.1f}"
            f"{p99[name]:>9.1f}{max(each.p99_ms for each in chosen):>14.1f}"
        )
    print(f"p99 during a move / quiet: {p99['during a move'] / p99['quiet']:.2f}")


if __name__ == "__main__":
    main()
