"""Training on JAX beside TensorFlow and beside the plain Keras script on both: a head phase, then a third unfrozen.

The same pictures, backbone, epochs, learning rates and cores on all sides, see `bench_features`; Graftwork's runs start
with an empty feature store. Seconds are those of a phase: features and compilation included, start of processes not.
The last column is Graftwork's shortest epoch of the second phase, in which nothing is compiled any more.

Run: python -m tests.benchmarks.bench_backends [--pictures 400] [--epochs 3] [--tune 3] [--size 96] [--workers 1]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.benchmarks.bench_features import make_request, run_graft, run_script, write_pictures

_BACKENDS = ("tensorflow", "jax")


def main() -> None:
    """Run all sides and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--tune", type=int, default=3)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, pictures = Path(name), Path(name) / "pictures"
        write_pictures(pictures, options.pictures)
        requests = [
            make_request(pictures, folder / backend, folder / f"{backend}-features", options, backend=backend)
            for backend in _BACKENDS
        ]
        _, trained = run_graft(requests, folder, options.workers)
        scripts = [run_script(pictures, folder, options, backend=backend) for backend in _BACKENDS]
    print(f"{options.pictures} pictures of {options.size} px, {options.epochs} + {options.tune} epochs")
    print(f"{'side':28} {'head s':>8} {'tune s':>8} {'tune epoch s':>13} {'best val. acc.':>15}")
    for backend, graft, script in zip(_BACKENDS, trained, scripts, strict=True):
        for side, figures in ((f"graft, {backend}", graft), (f"plain script, {backend}", script)):
            head_s, tune_s = figures["phases_s"]
            epoch_s = min(figures["epochs_s"][options.epochs :]) if "epochs_s" in figures else float("nan")
            print(f"{side:28} {head_s:>8.1f} {tune_s:>8.1f} {epoch_s:>13.2f} {figures['accuracy']:>15.3f}")


if __name__ == "__main__":
    main()
