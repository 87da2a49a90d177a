"""What a replica on JAX saves by not loading TensorFlow for layers of KerasHub; both sides from one run, in turns.

    python -m tests.benchmarks.bench_jax_engine [--rounds 3]

Each side is a process that loads a BERT of four layers and scores one text. The one loads TensorFlow first, as KerasHub
does by itself where it is installed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from graftwork.settings import child_environment

_MAKE = """
import sys
import keras, keras_hub
backbone = keras_hub.models.BertBackbone(
    vocabulary_size=30522, num_layers=4, num_heads=8, hidden_dim=512, intermediate_dim=2048
)
given = keras.Input((None,), dtype="int32")
mask = keras.ops.cast(keras.ops.not_equal(given, 0), "int32")
taken = {"token_ids": given, "padding_mask": mask, "segment_ids": keras.ops.zeros_like(given)}
keras.Model(given, keras.layers.Dense(2)(backbone(taken)["pooled_output"])).save(sys.argv[1])
"""
_LOAD = """
import resource, sys
from pathlib import Path
import numpy as np
if sys.argv[2] == "with TensorFlow":
    import tensorflow
from graftwork_serving.engine import EngineOptions
from graftwork_serving.jax_engine import JaxEngine
text = np.arange(1, 33, dtype=np.int32)
options = EngineOptions(threads=1, max_batch_size=1, engine="jax")
engine = JaxEngine(
    Path(sys.argv[1]), libraries=["keras", "keras_hub"], lengths=(32,), padding=0, trial=text, options=options
)
engine.predict(text[None])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
SIDES = ("with TensorFlow", "without")


def main() -> None:
    """Print medians of both sides."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    megabytes: dict[str, list[float]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bert.keras"
        environment = child_environment({"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "GRAFT_HOME": folder})
        _run(_MAKE, str(file), environment=environment)
        for side in SIDES:  # what is compiled is kept: neither side has it to do
            _run(_LOAD, str(file), side, environment=environment)
        for _ in range(rounds):
            for side in SIDES:
                begun = time.monotonic()
                said = _run(_LOAD, str(file), side, environment=environment)
                seconds[side].append(time.monotonic() - begun)
                megabytes[side].append(int(said.splitlines()[-1]) / 1024)
    for side in SIDES:
        shown = ", ".join(f"{each:.1f}" for each in seconds[side])
        print(
            f"{side:16} {statistics.median(seconds[side]):5.1f} s from start to first score ({shown}), "
            f"{statistics.median(megabytes[side]):5.0f} MiB at most"
        )


def _run(script: str, *arguments: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
