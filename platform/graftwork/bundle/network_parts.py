"""Parts of OpenVINO graphs: cutting them out, looking through them, running them. Knows no pictures and no labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.openvino_core import openvino_core


def part_of_network(outputs: Sequence[Any], parameters: Sequence[Any], name: str) -> Any:
    """An `openvino.Model` of what lies between some parameters and some outputs of another one; they share it."""
    import openvino

    build: Any = openvino.Model  # whose stubs disagree with each other
    return build(list(outputs), list(parameters), name)


def nodes_below(node: Any, *, beyond: str | None = None) -> Iterator[Any]:
    """What a node is computed from, itself included, the nearest first.

    Args:
        node: where to begin.
        beyond: name of a node that is left out with all that only it is computed from.
    """
    waiting, seen = [node], {beyond}
    while waiting:
        found = waiting.pop(0)
        if found.get_name() in seen:
            continue
        seen.add(found.get_name())
        yield found
        waiting += [value.get_node() for value in found.input_values()]


def taking_bytes(model: Any) -> Any:
    """The same model, which takes uint8."""
    import openvino

    steps = openvino.preprocess.PrePostProcessor(model)
    steps.input(0).tensor().set_element_type(openvino.Type.u8)
    return steps.build()


def runner(model: Any, threads: int) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """A function that runs a model of one input and one output."""
    options = {
        # As in training, whatever the engine computes in: drift is measured against what features were like there.
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
    }
    compiled = openvino_core().compile_model(model, "CPU", options)
    return lambda batch: np.array(compiled(batch)[0], dtype=np.float32)
