"""What a served model takes: raw inputs read one by one, and several of them put together for one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from graftwork.preprocess.image import ImageSpec, decode_image
from graftwork.preprocess.inputs import InputSpec
from graftwork.preprocess.text import LENGTH_STEP, TextReader, TextSpec, decode_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A long sentence: what passes over several texts are timed with.
_TRIAL_TOKENS = 2 * LENGTH_STEP


class InputReader(Protocol):
    """Turns raw inputs into what an engine takes."""

    @property
    def spec(self) -> InputSpec:
        """What inputs are brought to."""
        ...

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one example; -1 where it may be any."""
        ...

    def trial(self) -> NDArray[Any]:
        """An example of usual size, to time passes with."""
        ...

    def decode(self, data: bytes) -> NDArray[Any]:
        """One raw input as the model takes it, without the batch dimension."""
        ...

    def stack(self, examples: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Several of them as one batch."""
        ...


@dataclass(frozen=True, kw_only=True)
class PictureReader:
    """Pictures: RGB 0..255, uint8, shape (height, width, 3).

    Attributes:
        spec: what pictures are brought to.
        max_pixels: larger pictures are refused.
    """

    spec: ImageSpec
    max_pixels: int

    @property
    def row_shape(self) -> tuple[int, ...]:
        """All pictures have one size."""
        return (self.spec.height, self.spec.width, 3)

    def trial(self) -> NDArray[Any]:
        """A black picture."""
        return np.zeros(self.row_shape, dtype=np.uint8)

    def decode(self, data: bytes) -> NDArray[Any]:
        """A picture file."""
        return decode_image(data, self.spec, max_pixels=self.max_pixels)

    def stack(self, examples: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Pictures of one size."""
        return np.stack(examples)


class TextInput:
    """Texts: token ids, int32, shape (tokens,); a batch is as long as its longest text.

    Args:
        spec: what texts are brought to.
    """

    def __init__(self, spec: TextSpec) -> None:
        self.spec = spec
        self._reader = TextReader(spec)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Any number of tokens."""
        return (-1,)

    def trial(self) -> NDArray[Any]:
        """A long sentence."""
        # Any token but the one that stands for none.
        filler = 0 if self.spec.pad_id else 1
        return np.full(min(_TRIAL_TOKENS, self.spec.max_tokens), filler, dtype=np.int32)

    def decode(self, data: bytes) -> NDArray[Any]:
        """A UTF-8 text."""
        return self._reader.read([decode_text(data)])[0].ids

    def stack(self, examples: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Texts, the shorter ones filled up."""
        return self._reader.stack(examples)


def input_reader(spec: InputSpec, *, max_image_pixels: int) -> InputReader:
    """The reader for a bundle's inputs."""
    match spec:
        case ImageSpec():
            return PictureReader(spec=spec, max_pixels=max_image_pixels)
        case TextSpec():
            return TextInput(spec)
