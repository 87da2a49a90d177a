"""Explanations of one model's answers: its network is cut and compiled when the first one is asked for."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from graftwork.bundle.feature_map import CutNetwork, cut_at_feature_map
from graftwork_serving.explain.shares import place_shares

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Method = Literal["class-activation-map", "ablation"]


class NoFeatureMapError(Exception):
    """The network has no feature map that its answer could be traced to."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What an answer rests on.

    Attributes:
        method: `class-activation-map` where the shares add up to the logit without its constant; `ablation` where each
            is how far the logit falls without the place. Logits of labels that exclude each other are counted from
            the mean of all.
        shares: of each place, shape (rows, columns), float32; they cover what the model saw.
    """

    method: Method
    shares: NDArray[np.float32]


class Explainer:
    """Explains a network's answers.

    Args:
        model_file: the network that answers, OpenVINO IR.
        threads: CPU threads for a pass.
    """

    def __init__(self, model_file: Path, *, threads: int) -> None:
        self._model_file = model_file
        self._threads = threads
        self._lock = threading.Lock()
        self._cut: CutNetwork | None = None
        self._has_looked = False

    def explain(self, pixels: NDArray[Any], column: int) -> Explanation:
        """Find out what an answer rests on; slow, and for several threads one after the other.

        Args:
            pixels: what the model saw, shape (height, width, 3), uint8.
            column: which of its answers.

        Raises:
            NoFeatureMapError: the network has none.
        """
        with self._lock:
            cut = self._network()
            shares = place_shares(cut.trunk(pixels[None]), cut.head, column, cut.axes)
            return Explanation(method="class-activation-map" if cut.is_linear else "ablation", shares=shares)

    def _network(self) -> CutNetwork:
        if not self._has_looked:
            self._cut, self._has_looked = cut_at_feature_map(self._model_file, threads=self._threads), True
        if self._cut is None:
            raise NoFeatureMapError
        return self._cut
