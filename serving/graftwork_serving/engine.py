"""What computes scores: what engines have in common, and the OpenVINO engine for CPU. Knows no requests and no bundles.

A pass over one example that has the machine to itself uses all threads; passes that run side by side use one thread
each, which answers more examples a second. Both are the same network compiled twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from graftwork.openvino_core import openvino_core
from graftwork_serving.batch_size import best_batch_size, seconds_an_example
from graftwork_serving.precision import OPENVINO_HINTS

if TYPE_CHECKING:
    import openvino
    from numpy.typing import NDArray

    from graftwork.spec.engine import EngineName
    from graftwork.spec.precision import Precision

ReadNetwork = Callable[[], "openvino.Model"]


class Engine(Protocol):
    """Computes scores; threads may call it at the same time."""

    name: EngineName
    """In specs, metadata and metrics."""
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
        engine: which one.
        on_gpu: whether it may compute on a GPU.
    """

    threads: int
    max_batch_size: int
    precision: Precision = "float32"
    engine: EngineName = "openvino"
    on_gpu: bool = False


class OpenVinoEngine:
    """An OpenVINO model on CPU.

    Args:
        read: gives the network, a new object each time: one input, whose first dimension is the batch, and one output.
        row_shape: shape of one example; -1 where it may be any.
        trial: an example of usual size, to time passes with; its type is the one examples will have.
        options: how to use the machine.
        batch_size: what was found to be best for such a network; None to find out. While a replica answers requests,
            timings are those of a busy machine, and take what requests need.
    """

    name: EngineName = "openvino"

    def __init__(
        self,
        read: ReadNetwork,
        *,
        row_shape: tuple[int, ...],
        trial: NDArray[Any],
        options: EngineOptions,
        batch_size: int | None = None,
    ) -> None:
        self._read = read
        self._shape = row_shape
        self._trial = trial
        self._precision: Precision = options.precision
        self._narrow = self._compile(1, streams=options.threads, threads=options.threads)
        self._wide = self._narrow if options.threads == 1 else self._compile(1, streams=1, threads=options.threads)
        for compiled in (self._narrow, self._wide):
            compiled.run(trial[None])  # warms up what single requests will use
        self._batched: _Compiled | None = None
        self.batch_size = 1
        if options.max_batch_size > 1 and batch_size != 1:
            batched = self._compile(-1, streams=options.threads, threads=options.threads)
            self.batch_size = batch_size or self._best_batch_size(batched, options.max_batch_size)
            self._batched = batched if self.batch_size > 1 else None

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

    def _best_batch_size(self, batched: _Compiled, most: int) -> int:
        """Measure whether passes over several examples are cheaper on this processor."""

        def seconds(size: int) -> float:
            return seconds_an_example((self._narrow if size == 1 else batched).run, self._trial, size)

        return best_batch_size(seconds, [size for size in (1, 2, 4, 8, 16, 32, 64) if size <= most])


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
