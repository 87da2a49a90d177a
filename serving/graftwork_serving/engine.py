"""What computes scores: the OpenVINO engine for CPU. Knows arrays, no requests and no bundles.

A pass over one example that has the machine to itself uses all threads; passes that run side by side use one thread
each, which answers more examples a second. Both are the same network compiled twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from graftwork.openvino_core import openvino_core
from graftwork_serving.precision import OPENVINO_HINTS

if TYPE_CHECKING:
    import openvino
    from numpy.typing import NDArray

    from graftwork.spec.precision import Precision

ENGINE: Final = "openvino"
"""What the engine here is called in specs, metadata and metrics."""
# A batch must be this much cheaper an example than single passes to be worth the wait for its slowest member.
_WORTHWHILE_SHARE = 0.85
_TIMING_ROUNDS = 5


ReadNetwork = Callable[[], "openvino.Model"]


class Engine(Protocol):
    """Computes scores; threads may call it at the same time."""

    batch_size: int
    """Examples that make the best use of one pass."""

    def predict(self, batch: NDArray[Any], *, alone: bool = False) -> NDArray[np.float32]:
        """Scores of examples.

        Args:
            batch: RGB pixels 0..255, shape (batch, height, width, 3), uint8; or token ids, shape (batch, tokens),
                int32.
            alone: no other pass is under way or waiting.

        Returns:
            Scores, shape (batch, labels), float32.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How an engine uses the machine.

    Attributes:
        threads: CPU threads, at least 1; as many passes may run side by side.
        max_batch_size: most examples in one pass, at least 1.
        precision: numbers it computes in.
    """

    threads: int
    max_batch_size: int
    precision: Precision = "float32"


class OpenVinoEngine:
    """An OpenVINO model on CPU.

    Args:
        read: gives the network, a new object each time: one input, whose first dimension is the batch, and one output.
        row_shape: shape of one example; -1 where it may be any.
        trial: an example of usual size, to time passes with; its type is the one examples will have.
        options: how to use the machine.
    """

    def __init__(
        self, read: ReadNetwork, *, row_shape: tuple[int, ...], trial: NDArray[Any], options: EngineOptions
    ) -> None:
        self._read = read
        self._shape = row_shape
        self._trial = trial
        self._precision: Precision = options.precision
        self._narrow = self._compile(1, streams=options.threads, threads=options.threads)
        self._wide = self._narrow if options.threads == 1 else self._compile(1, streams=1, threads=options.threads)
        self._batched: _Compiled | None = None
        self.batch_size = 1
        self._choose_batch_size(options)

    def predict(self, batch: NDArray[Any], *, alone: bool = False) -> NDArray[np.float32]:
        """Scores of examples; see `Engine.predict`."""
        if len(batch) == 1:
            return (self._wide if alone else self._narrow).run(batch)
        if self._batched is not None:
            return self._batched.run(batch)
        return np.concatenate([self._narrow.run(batch[index : index + 1]) for index in range(len(batch))])

    def _compile(self, rows: int, *, streams: int, threads: int) -> _Compiled:
        properties = {
            # OpenVINO chooses bf16 by itself on some processors; answers must not depend on the processor.
            "INFERENCE_PRECISION_HINT": OPENVINO_HINTS[self._precision],
            # Pinned threads of two replicas on one machine end up on the same core.
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": streams,
        }
        return _Compiled(self._read(), (rows, *self._shape), self._trial.dtype, properties)

    def _choose_batch_size(self, options: EngineOptions) -> None:
        """Measure whether passes over several examples are cheaper on this processor, and keep the best size."""
        sizes = [size for size in (2, 4, 8, 16, 32, 64) if size <= options.max_batch_size]
        best_s = self._seconds_per_example(self._narrow, 1)  # also warms up what single requests will use
        self._seconds_per_example(self._wide, 1)
        if not sizes:
            return
        batched = self._compile(-1, streams=options.threads, threads=options.threads)
        for size in sizes:
            seconds = self._seconds_per_example(batched, size)
            if seconds > best_s * _WORTHWHILE_SHARE:
                break
            best_s, self.batch_size, self._batched = seconds, size, batched

    def _seconds_per_example(self, compiled: _Compiled, size: int) -> float:
        batch = np.repeat(self._trial[None], size, axis=0)
        compiled.run(batch)
        best = float("inf")
        for _ in range(_TIMING_ROUNDS):
            started = time.perf_counter()
            compiled.run(batch)
            best = min(best, time.perf_counter() - started)
        return best / size


class _Compiled:
    """A network compiled for one input shape, with an inference request for each calling thread."""

    def __init__(
        self, model: openvino.Model, shape: tuple[int, ...], dtype: np.dtype[Any], properties: Mapping[str, Any]
    ) -> None:
        import openvino

        model.reshape(list(shape))
        steps = openvino.preprocess.PrePostProcessor(model)
        steps.input(0).tensor().set_element_type(openvino.Type(dtype))
        self._model: openvino.CompiledModel = openvino_core().compile_model(steps.build(), "CPU", dict(properties))
        self._local = threading.local()

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        request: openvino.InferRequest | None = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._model.create_infer_request()
        request.infer({0: batch}, share_inputs=True)
        return np.array(request.get_output_tensor(0).data, dtype=np.float32)
