"""A training step of two workers beside the same under tf_keras' MultiWorkerMirroredStrategy, from one run.

That strategy is what Ray's TensorflowTrainer sets up. MobileNetV2 at 96 px, all layers train, one thread a worker; both
decode the example pictures as they go. The other side's workers are processes with `TF_CONFIG`, as that trainer starts
them. Both leave out their first epoch, which also traces the graph, and give the best of
the others. BatchNorm is in inference mode in the first pair of rows; in the others it trains, where ours brings its
statistics together over the workers in every step: beside the strategy with `BatchNormalization(synchronized=True)`,
which does the same, and beside the strategy as it is by itself, where each worker has statistics of its own.

Run: python -m tests.benchmarks.bench_mirrored TF_KERAS [--rounds 2] [--epochs 4]
TF_KERAS: a folder made by `pip install --no-deps --target FOLDER tf-keras==2.21.0` (the version of TensorFlow).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from graftwork.settings import child_environment
from tests.benchmarks.train_runs import DATA, run_on

BATCH, SIZE, CLASSES, WORKERS = 64, 96, 10, 2
SIDES = (
    ("graft", "inference"),
    ("strategy", "inference"),
    ("graft", "train"),
    ("strategy", "synchronised"),
    ("strategy", "train"),
)
STRATEGY_WORKER = """
import json, os, sys, time
import numpy as np, tensorflow as tf, tf_keras as keras
rank, size, classes, batch, epochs = (int(each) for each in sys.argv[1:6])
batch_norm, pictures = sys.argv[6], sys.argv[7:]
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    given = keras.Input((size, size, 3))
    base = keras.applications.MobileNetV2(input_shape=(size, size, 3), include_top=False, weights=None, pooling="avg")
    if batch_norm == "synchronised":
        def together(layer):
            if not isinstance(layer, keras.layers.BatchNormalization):
                return layer.__class__.from_config(layer.get_config())
            return keras.layers.BatchNormalization.from_config(layer.get_config() | {"synchronized": True})
        base = keras.models.clone_model(base, clone_function=together)
    normal = base(given / 127.5 - 1.0, training=batch_norm != "inference")
    model = keras.Model(given, keras.layers.Dense(classes)(normal))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss=loss, metrics=["accuracy"])
def picture(file, label):
    pixels = tf.io.decode_png(tf.io.read_file(file), channels=3)
    return tf.image.resize(pixels, (size, size)), label
options = tf.data.Options()
options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
data = tf.data.Dataset.from_tensor_slices((pictures, np.arange(len(pictures), dtype="int32") % classes))
data = data.shuffle(len(pictures)).map(picture, num_parallel_calls=1).batch(batch, drop_remainder=True)
data = data.prefetch(2).with_options(options)
seconds = []
class Clock(keras.callbacks.Callback):
    def on_epoch_begin(self, *_): self.began = time.perf_counter()
    def on_epoch_end(self, *_): seconds.append(time.perf_counter() - self.began)
model.fit(data, epochs=epochs, verbose=0, callbacks=[Clock()])
if rank == 0:
    print(json.dumps(len(pictures) // batch * batch / min(seconds[1:])))
"""


def ours(epochs: int, batch_norm: str) -> float:
    """Images per second over both workers."""
    spec = {
        "backbone": {"name": "MobileNetV2", "weights": "none"},
        "phases": [{"name": "all", "epochs": epochs, "unfreeze": "all", "learningRate": 1e-3}],
        "training": {"batchSize": BATCH, "batchNorm": batch_norm},
    }
    with tempfile.TemporaryDirectory() as folder:
        _, result = run_on(WORKERS, spec, size=SIZE, folder=Path(folder) / "run")
    return max(float(record["images_per_s"]) for record in result.history[1:])


def mirrored(tf_keras: Path, epochs: int, batch_norm: str) -> float:
    """Images per second over both workers."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(WORKERS)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    pictures = sorted((DATA / "google-train").glob("*/*.png"))
    arguments = [str(each) for each in (SIZE, CLASSES, BATCH, epochs, batch_norm, *pictures)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", STRATEGY_WORKER, str(rank), *arguments],
            env=child_environment(
                {
                    "PYTHONPATH": str(tf_keras),
                    "TF_USE_LEGACY_KERAS": "1",
                    "CUDA_VISIBLE_DEVICES": "",
                    "TF_CONFIG": json.dumps(
                        {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
                    ),
                }
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for rank in range(WORKERS)
    ]
    outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("the strategy's workers failed; is TF_KERAS the folder with tf_keras?")
    return float(json.loads(outputs[0]))


def main() -> None:
    """Print both sides."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tf_keras", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:WORKERS]))
    best: dict[tuple[str, str], float] = {}
    for number in range(options.rounds):
        for side, batch_norm in SIDES:
            if side == "graft":
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
                    speed = apart.submit(ours, options.epochs, batch_norm).result()
            else:
                speed = mirrored(options.tf_keras, options.epochs, batch_norm)
            best[side, batch_norm] = max(best.get((side, batch_norm), 0.0), speed)
            print(
                f"round {number + 1}  {side:9} BatchNorm {batch_norm:12} {speed:6.1f} images/s"
                f"  load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    for side, batch_norm in SIDES:
        if side == "strategy":
            graft = best["graft", "inference" if batch_norm == "inference" else "train"]
            strategy = best[side, batch_norm]
            steps = f"{BATCH / graft * 1000:.0f} ms beside {BATCH / strategy * 1000:.0f} ms"
            print(f"beside {batch_norm}: {graft / strategy:.2f} times the strategy's images/s (a step {steps})")


if __name__ == "__main__":
    main()
