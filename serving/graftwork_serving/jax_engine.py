"""What computes scores on a GPU: the bundle's Keras model as one XLA program for each size of a batch.

All programs are compiled while the model is loaded, so no request waits for a compiler; batches in between are filled
up to the next size. They multiply in float32, where GPUs would round to TensorFloat-32 by themselves: answers have to
be those of training. In bfloat16, all but the last layers compute in it, from weights in float32. Works on CPU, too,
where OpenVINO is faster.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from graftwork.compiled_programs import keep_compiled_programs
from graftwork.doctor.probe import gpus as nvidia_gpus
from graftwork.errors import PermanentError, Problem, SpecError
from graftwork.settings import load_settings, set_process_defaults
from graftwork_serving.batch_size import best_batch_size, seconds_an_example

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

    from graftwork.spec.engine import EngineName
    from graftwork.spec.precision import Precision
    from graftwork_serving.engine import EngineOptions

# Few, as each is compiled; a batch is filled up by half of it on average.
_SIZES: Final = (1, 4, 16, 64)


def check_engine(engine: EngineName, gpus: float = 0, *, file: Path | None = None) -> None:
    """Make sure that this machine has what an engine needs.

    Args:
        engine: of the spec.
        gpus: of a replica; 0 also where the engine looks for itself.
        file: the spec.

    Raises:
        SpecError: it lacks something.
    """
    place = None if file is None else str(file)
    missing = [name for name in ("jax", "keras") if engine == "jax" and importlib.util.find_spec(name) is None]
    if missing:
        raise SpecError(
            Problem(
                file=place,
                where="spec.engine",
                received=f"jax, without the package {missing[0]}",
                expected="packages jax and keras, with which it computes",
                fix="Install them (pip install 'graftwork[serve-gpu]'; on Kubernetes name the image serve-gpu in "
                "kubernetes.image), or use `engine: openvino` without GPUs.",
            )
        )
    if gpus and not nvidia_gpus():
        raise SpecError(
            Problem(
                file=place,
                where="spec.resources.gpus",
                received=f"{gpus:g}, on a machine where nvidia-smi shows no GPU",
                expected="0, or a machine with an NVIDIA GPU and its driver",
                fix="Remove `resources.gpus`, or serve on another machine.",
            )
        )


class JaxEngine:
    """A Keras model, compiled by XLA.

    Args:
        file: the model, in Keras' own format.
        libraries: packages whose layers it holds.
        lengths: of an example's first dimension, from small to large, between which examples are filled up; empty where
            all have one shape.
        padding: what they are filled up with.
        trial: an example of usual size, to time passes with; its type is the one examples will have.
        options: how to use the machine.

    Raises:
        PermanentError: Keras is loaded already, with another backend, or JAX sees no GPU where there should be one.
    """

    name: EngineName = "jax"

    def __init__(
        self,
        file: Path,
        *,
        libraries: Sequence[str],
        lengths: Sequence[int],
        padding: int,
        trial: NDArray[Any],
        options: EngineOptions,
    ) -> None:
        self._lengths, self._padding = tuple(lengths), padding
        self._network = _Network(file, libraries, options)
        sizes = [size for size in _SIZES if size <= options.max_batch_size]
        self.batch_size = best_batch_size(partial(seconds_an_example, self._pass, trial), sizes)
        for size in sizes[: sizes.index(self.batch_size) + 1]:
            for length in self._lengths or (len(trial),):
                self._network.compile((size, length, *trial.shape[1:]), trial.dtype)

    def predict(self, batch: NDArray[Any], *, alone: bool = False) -> NDArray[np.float32]:
        """Scores of examples; see `graftwork_serving.engine.Engine.predict`."""
        most = self.batch_size
        return np.concatenate([self._pass(batch[first : first + most]) for first in range(0, len(batch), most)])

    def _pass(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        missing = next(size for size in _SIZES if size >= len(rows)) - len(rows)
        if missing:
            rows = np.concatenate([rows, np.repeat(rows[:1], missing, axis=0)])
        if self._lengths:
            length = next(each for each in self._lengths if each >= rows.shape[1])
            rows = np.pad(rows, ((0, 0), (0, length - rows.shape[1])), constant_values=self._padding)
        scores = self._network(rows)
        return scores[: len(scores) - missing]


class _Network:
    """A model's programs, by the shape of what they take."""

    def __init__(self, file: Path, libraries: Sequence[str], options: EngineOptions) -> None:
        _set_up(options)
        import jax

        if options.on_gpu and not any(device.platform == "gpu" for device in jax.local_devices()):
            raise PermanentError(
                "JAX sees no GPU in this process. Install its CUDA libraries (pip install 'graftwork[serve-gpu]') and "
                "look with `graft doctor` whether the driver works, or remove `resources.gpus`."
            )
        with _without_tensorflow():
            for library in libraries:
                importlib.import_module(library)
        self._model = _load(file, options.precision)
        self._values = [variable.value for variable in self._model.variables]
        self._programs: dict[tuple[int, ...], Any] = {}

    def compile(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Make the program for batches of a shape, if there is none."""
        import jax

        if shape not in self._programs:
            with jax.default_matmul_precision("highest"):  # of what is in float32
                lowered = jax.jit(self._scores).lower(self._values, jax.ShapeDtypeStruct(shape, dtype))
                self._programs[shape] = lowered.compile()

    def __call__(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Scores of a batch."""
        self.compile(rows.shape, rows.dtype)
        return np.asarray(self._programs[rows.shape](self._values, rows))

    def _scores(self, values: list[Any], rows: Any) -> Any:
        import keras

        taken = keras.ops.cast(rows, self._model.inputs[0].dtype)
        with keras.StatelessScope(state_mapping=list(zip(self._model.variables, values, strict=True))):
            return keras.ops.cast(self._model(taken, training=False), "float32")


@contextmanager
def _without_tensorflow() -> Iterator[None]:
    """Where it is installed, KerasHub loads it for tokenizers and preprocessing, which no model here has.

    That is half a gigabyte and seconds of every start. Keras asks later whether it was loaded, so nothing is left.
    """
    if "tensorflow" in sys.modules:
        yield
        return
    sys.modules["tensorflow"] = None  # type: ignore[assignment]  # what Python refuses to import
    try:
        yield
    finally:
        del sys.modules["tensorflow"]


def _load(file: Path, precision: Precision) -> keras.Model:
    """A model, loaded without drawing random weights first: JAX would compile a program for each of their shapes."""
    import keras

    with zipfile.ZipFile(file) as archive:
        config = json.loads(archive.read("config.json"))
    config["compile_config"] = None
    if precision == "bfloat16":
        config["config"]["layers"] = _in_bfloat16(config["config"]["layers"])
    model: keras.Model = keras.saving.deserialize_keras_object(_rewritten(config, _zeros), safe_mode=True)
    model.load_weights(str(file))
    return model


def _rewritten(config: Any, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Any:
    """A configuration with what `change` gives for its parts; parts of which it says None are looked into."""
    match config:
        case dict():
            changed = change(config)
            return {key: _rewritten(value, change) for key, value in config.items()} if changed is None else changed
        case list():
            return [_rewritten(value, change) for value in config]
        case _:
            return config


def _zeros(config: dict[str, Any]) -> dict[str, Any] | None:
    """Zeros in place of an initializer."""
    if config.get("module") != "keras.initializers":
        return None
    return {"module": "keras.initializers", "class_name": "Zeros", "config": {}, "registered_name": None}


def _in_bfloat16(layers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A model's layers, computing in bfloat16 up to the last fully connected one; scores keep all their digits."""
    dense = [number for number, layer in enumerate(layers) if layer["class_name"] == "Dense"]
    end = dense[-1] if dense else len(layers) - 1
    return [_rewritten(layer, _rounding) for layer in layers[:end]] + list(layers[end:])


def _rounding(config: dict[str, Any]) -> dict[str, Any] | None:
    """A policy to compute in bfloat16 in place of one for float32; weights stay in float32."""
    match config:
        case {"class_name": "DTypePolicy", "config": {"name": "float32"}}:
            return {**config, "config": {"name": "mixed_bfloat16"}}
        case {"class_name": "InputLayer" | "Normalization" | "Rescaling"}:
            return config  # pixels are scaled in float32
        case _:
            return None


def _set_up(options: EngineOptions) -> None:
    """Make this process compute with JAX, before anything imports it or Keras."""
    loaded = sys.modules.get("keras")
    if loaded is not None and loaded.backend.backend() != "jax":
        raise PermanentError(f"Keras runs on {loaded.backend.backend()} in this process already.")
    os.environ["KERAS_BACKEND"] = "jax"  # noqa: TID251 (Keras takes it from there; nothing is read)
    # Other replicas may have a share of the same GPU.
    set_process_defaults({"XLA_PYTHON_CLIENT_PREALLOCATE": "false"})
    if not options.on_gpu:
        set_process_defaults({"JAX_PLATFORMS": "cpu", "NPROC": str(options.threads)})
    keep_compiled_programs(load_settings().programs_dir)
