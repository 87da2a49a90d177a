"""What an example is brought to, whatever its kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from graftwork.preprocess.image import ImageSpec, decode_image
from graftwork.preprocess.text import TextReader, TextSpec, decode_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

InputSpec: TypeAlias = ImageSpec | TextSpec
"""What every example of a job or a bundle is brought to."""


def read_batch(contents: Sequence[bytes], inputs: InputSpec) -> NDArray[Any]:
    """Raw inputs (picture files, UTF-8 texts) as one batch of what a model takes.

    Returns:
        RGB pixels 0..255, shape (batch, height, width, 3), uint8; or token ids, shape (batch, tokens), int32.

    Raises:
        ImageError: a picture cannot be decoded.
        TextError: a text is empty or not UTF-8.
    """
    match inputs:
        case ImageSpec():
            return np.stack([decode_image(content, inputs) for content in contents])
        case TextSpec():
            reader = TextReader(inputs)
            return reader.stack([text.ids for text in reader.read([decode_text(content) for content in contents])])
