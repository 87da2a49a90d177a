"""An exported network as a graph: where a single tensor crosses, what lies below, and what is left above.

Two bundles whose trunk is the same (the backbone was frozen, or the part below the freeze boundary was) have the same
digest there, whatever their operations are called: the digest of an operation covers what it does and the digests of
what it takes, constants by their content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from graftwork.bundle.network_parts import part_of_network
from graftwork.openvino_core import openvino_core

if TYPE_CHECKING:
    import openvino
    from numpy.typing import NDArray

# A trunk is worth sharing if it holds this share of the network's weights.
_WORTHWHILE_SHARE: Final = 0.5
# A larger head is faster inside the engine.
_MAX_HEAD_BYTES: Final = 4 << 20
# Rank of what heads work on: (examples, numbers).
_VECTORS: Final = 2

Step = Callable[["NDArray[np.float32]"], "NDArray[np.float32]"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Head:
    """What is left of a network above its trunk: a few operations on vectors.

    Attributes:
        steps: applied one after the other; features in, shape (examples, features), float32, scores out, shape
            (examples, labels), float32.
        weight_bytes: what its constants take.
    """

    steps: tuple[Step, ...]
    weight_bytes: int

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores from features."""
        for step in self.steps:
            features = step(features)
        return np.asarray(features, np.float32)


@dataclass(frozen=True, kw_only=True)
class Split:
    """A network in two parts.

    Attributes:
        digest: of all that lies below the cut.
        architecture: the same without the values of constants: networks that have it in common run alike.
        cut: name of the operation whose output crosses.
        head: what lies above.
        weight_bytes: what the constants below take.
    """

    digest: str
    architecture: str
    cut: str
    head: Head
    weight_bytes: int


def read_network(file: Path) -> openvino.Model:
    """An exported model, as it is on disk."""
    return openvino_core().read_model(file)


def trunk_of(file: Path, cut: str) -> openvino.Model:
    """The part of an exported model that ends with an operation's output."""
    network = read_network(file)
    (last,) = [operation for operation in network.get_ordered_ops() if operation.get_friendly_name() == cut]
    trunk: openvino.Model = part_of_network([last.output(0)], network.get_parameters(), "trunk")
    return trunk


def split(network: openvino.Model) -> Split | None:
    """Cut a network where its head begins; None if there is no such place, or the head is most of the network.

    The head is the longest chain of plain operations on vectors that ends in the scores: dense layers, their biases and
    activations.
    """
    operations = network.get_ordered_ops()
    results = network.get_results()
    if len(results) != 1:
        return None
    links: list[_Link] = []
    operation = _source(results[0].input(0))
    while (link := _link(operation)) is not None:
        links.append(link)
        operation = link.below
    total = sum(_constant_bytes(each) for each in operations)
    above = sum(link.weight_bytes for link in links)
    is_large = above > _MAX_HEAD_BYTES or total - above < _WORTHWHILE_SHARE * total
    if not links or is_large or operation.get_output_size() != 1:
        return None
    return Split(
        digest=_digest(operations, operation),
        architecture=_digest(operations, operation, values=False),
        cut=operation.get_friendly_name(),
        head=Head(steps=tuple(link.step for link in reversed(links)), weight_bytes=above),
        weight_bytes=total - above,
    )


@dataclass(frozen=True, kw_only=True)
class _Link:
    """One operation of a head: what it does to the output of the operation below it."""

    step: Step
    below: Any
    weight_bytes: int


def _link(operation: Any) -> _Link | None:
    """The operation as part of a head; None if it cannot be one."""
    if operation.get_output_size() != 1 or operation.output(0).get_partial_shape().rank != _VECTORS:
        return None
    sources = [_source(entry) for entry in operation.inputs()]
    taken = [index for index, source in enumerate(sources) if source.get_type_name() != "Constant"]
    if len(taken) != 1 or sources[taken[0]].output(0).get_partial_shape().rank != _VECTORS:
        return None
    constants = [np.array(source.data) for source in sources if source.get_type_name() == "Constant"]
    if any(constant.dtype != np.float32 for constant in constants):
        return None
    step = _step(operation.get_type_name(), operation.get_attributes(), taken[0], constants)
    if step is None:
        return None
    return _Link(step=step, below=sources[taken[0]], weight_bytes=sum(constant.nbytes for constant in constants))


def _step(kind: str, attributes: dict[str, Any], place: int, constants: list[NDArray[np.float32]]) -> Step | None:
    """What an operation does, if it is one that heads are made of.

    Args:
        kind: of operation.
        attributes: its own.
        place: which of its inputs comes from below.
        constants: the others.
    """
    match kind, constants:
        case "MatMul", [weights] if place == 0 and weights.ndim == _VECTORS and not attributes["transpose_a"]:
            right = weights.T if attributes["transpose_b"] else weights
            return lambda values: values @ right
        case (("Add" | "Multiply" | "Subtract" | "Divide"), [constant]) if constant.shape[:-1] in {(), (1,)}:
            function: Any = _ARITHMETIC[kind]
            return (
                (lambda values: function(values, constant))
                if place == 0
                else (lambda values: function(constant, values))
            )
        case "Softmax", [] if attributes["axis"] in {-1, 1}:
            return _softmax
        case (("Relu" | "Sigmoid" | "Tanh"), []):
            return _ACTIVATIONS[kind]
        case _:
            return None


def _softmax(values: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    # Through the hyperbolic tangent, which overflows nowhere.
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * values), np.float32)


_ARITHMETIC: Final = {"Add": np.add, "Multiply": np.multiply, "Subtract": np.subtract, "Divide": np.divide}
_ACTIVATIONS: Final[dict[str, Step]] = {
    "Relu": lambda values: np.maximum(values, 0),
    "Sigmoid": _sigmoid,
    "Tanh": np.tanh,
}


def _source(entry: Any) -> Any:
    """The operation that an input comes from."""
    return entry.get_source_output().get_node()


def _constant_bytes(operation: Any) -> int:
    return operation.data.nbytes if operation.get_type_name() == "Constant" else 0


def architecture_of(network: openvino.Model) -> str:
    """Names what a network does, whatever the values of its constants."""
    operations = network.get_ordered_ops()
    return _digest(operations, operations[-1], values=False)


def _digest(operations: Sequence[Any], last: Any, *, values: bool = True) -> str:
    """SHA-256 that names an operation with all that it depends on; constants by their values, or by their shapes."""
    digests: dict[str, bytes] = {}
    for operation in operations:
        name = operation.get_friendly_name()
        hashed = hashlib.sha256(operation.get_type_name().encode())
        if operation.get_type_name() == "Constant":
            constant = operation.data
            hashed.update(f"{constant.dtype} {constant.shape}".encode())
            if values:
                hashed.update(np.ascontiguousarray(constant).data)
        else:
            hashed.update(repr(sorted((key, str(value)) for key, value in operation.get_attributes().items())).encode())
            for entry in operation.inputs():
                output = entry.get_source_output()
                hashed.update(digests[output.get_node().get_friendly_name()])
                hashed.update(output.get_index().to_bytes(4))
        digests[name] = hashed.digest()
        if name == last.get_friendly_name():
            break
    return digests[last.get_friendly_name()].hex()
