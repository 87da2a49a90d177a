"""Drift of a replica's models: features of a sample of the examples, computed on a thread of its own."""

from __future__ import annotations

import logging
import queue
import random
import threading
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from graftwork.bundle.drift import DriftReference, drift, project

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from graftwork_serving.endpoint_config import DriftConfig
    from graftwork_serving.served_model import ServedModel
    from graftwork_serving.service import Prediction

_LOGGER = logging.getLogger(__name__)
# Examples that may wait; what comes beyond is left out, for a sample is a sample.
_MOST_WAITING = 32
# Each has its network compiled a second time: an endpoint of hundreds of models watches the first that are asked.
_MOST_MODELS = 16
# How many new examples make a new number worth computing.
_STEP = 10


@dataclass(frozen=True, kw_only=True)
class FeatureSource:
    """What drift of a model is told from.

    Attributes:
        model_file: the network that answers, OpenVINO IR.
        reference: what its features were like in its test.
    """

    model_file: Path
    reference: DriftReference


class _Window:
    """The newest examples of one version."""

    def __init__(self, source: FeatureSource, size: int) -> None:
        from graftwork.bundle.feature_map import pooled_features

        self._reference = source.reference
        self._features = pooled_features(source.model_file, threads=1)
        self._rows: deque[NDArray[np.float64]] = deque(maxlen=size)
        self._new = 0

    def add(self, pixels: NDArray[Any]) -> float | None:
        """Take up an example; the drift, when it is time for a new number."""
        if self._features is None:
            return None
        self._rows.append(project(self._features(pixels[None]))[0])
        self._new += 1
        if len(self._rows) < (self._rows.maxlen or 0) or self._new < _STEP:
            return None
        self._new = 0
        return drift(self._reference, np.stack(self._rows))


class DriftMonitor:
    """The thread and its windows.

    Args:
        config: how much to look at.
        publish: told of the drift of a version.
        draw: random numbers, 0 <= x < 1, that decide which examples are looked at.
    """

    def __init__(
        self,
        config: DriftConfig,
        publish: Callable[[ServedModel, float], None],
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.config = config
        self._publish = publish
        self._draw = draw
        self._waiting: queue.Queue[tuple[ServedModel, bytes | NDArray[Any]] | None] = queue.Queue(_MOST_WAITING)
        self._windows: dict[str, _Window] = {}
        self._thread = threading.Thread(target=self._work, name="graftwork-drift", daemon=True)
        self._thread.start()

    def add(self, prediction: Prediction) -> None:
        """Look at a request's examples, if they are of the sample; returns at once."""
        if prediction.model.feature_source is None:
            return
        for example in prediction.examples:
            if self._draw() < self.config.sample:
                try:
                    self._waiting.put_nowait((prediction.model, example))
                except queue.Full:
                    return

    def keep(self, models: Collection[ServedModel]) -> None:
        """Forget the windows of all other models."""
        digests = {model.digest for model in models}
        self._windows = {digest: window for digest, window in self._windows.items() if digest in digests}

    def close(self) -> None:
        """End the thread when it has done what waits."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            model, example = item
            try:
                window = self._window(model)
                pixels = model.decode(example) if isinstance(example, bytes) else example
                found = None if window is None else window.add(pixels)
            except Exception:
                # Drift is a by-product: whatever goes wrong with one example must end neither this nor predictions.
                _LOGGER.exception("An example of model %s could not be looked at for drift.", model.name)
                continue
            if found is not None:
                self._publish(model, found)

    def _window(self, model: ServedModel) -> _Window | None:
        windows, source = self._windows, model.feature_source
        if model.digest not in windows and source is not None and len(windows) < _MOST_MODELS:
            windows[model.digest] = _Window(source, self.config.window)
        return windows.get(model.digest)
