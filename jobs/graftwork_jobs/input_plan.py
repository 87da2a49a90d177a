"""What a plan says of examples besides their number: size of pictures, length of texts, cost of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graftwork.preprocess.image import ImageSpec
from graftwork.preprocess.inputs import InputSpec
from graftwork.preprocess.text import TextReader, TextSpec, batch_length
from graftwork_jobs.data.index import DatasetIndex
from graftwork_jobs.data.text_batches import tokenize


@dataclass(frozen=True, kw_only=True)
class TextFacts:
    """What the tokenizer made of the texts; plain values only.

    Attributes:
        max_tokens: longer texts are cut off.
        mean_tokens: of a training text, after that.
        truncated: texts cut off, by split.
    """

    max_tokens: int
    mean_tokens: float
    truncated: dict[str, int]


def measure_texts(index: DatasetIndex, text: TextSpec) -> TextFacts:
    """Tokenize all texts of a job once and count."""
    reader = TextReader(text)
    tables = {name: tokenize(split.inputs, reader) for name, split in index.splits.items()}
    return TextFacts(
        max_tokens=text.max_tokens,
        mean_tokens=round(float(tables["train"].lengths.mean()), 1),
        truncated={name: table.truncated for name, table in tables.items()},
    )


def truncation_warnings(facts: TextFacts | None, sizes: Mapping[str, int]) -> list[str]:
    """How many texts lose their end.

    Args:
        facts: of the texts; None for pictures.
        sizes: texts of each split.
    """
    if facts is None or not any(facts.truncated.values()):
        return []
    parts = ", ".join(
        f"{count:,} of {sizes[name]:,} {name} texts ({count / sizes[name]:.1%})"
        for name, count in facts.truncated.items()
        if count
    )
    return [
        f"{parts} have more than {facts.max_tokens} tokens and are cut off. Raise spec.input.maxTokens to see more."
    ]


def words_for(image_size: tuple[int, int] | None, texts: TextFacts | None) -> str:
    """What goes into the model, for people."""
    if texts is not None:
        return f"texts of up to {texts.max_tokens} tokens ({texts.mean_tokens:g} on average)"
    height, width = image_size or (0, 0)
    return f"pictures of {height} x {width} pixels"


def trial_batch(inputs: InputSpec, texts: TextFacts | None, rows: int) -> NDArray[Any]:
    """Examples of the usual size, to measure what one costs."""
    match inputs:
        case ImageSpec():
            return np.zeros((rows, inputs.height, inputs.width, 3), dtype=np.float32)
        case TextSpec():
            tokens = texts.mean_tokens if texts is not None else inputs.max_tokens
            # No padding: attention to padding costs the same, but an encoder may leave it out.
            filler = 0 if inputs.pad_id else 1
            return np.full((rows, batch_length(round(tokens), inputs.max_tokens)), filler, dtype=np.int32)


def layer_elements(layer: Any, inputs: InputSpec) -> int:
    """Numbers that a backbone layer computes for one example of the largest size."""
    tokens = inputs.max_tokens if isinstance(inputs, TextSpec) else 1
    sizes = [
        int(np.prod([tokens if side is None else side for side in tensor.shape[1:]])) for tensor in _outputs(layer)
    ]
    return sum(sizes) + _inside_block(layer, tokens)


def _inside_block(layer: Any, tokens: int) -> int:
    """What a transformer block computes on its way: projections, attention scores, hidden units.

    Source: Vaswani et al. 2017, sections 3.2 and 3.3: queries, keys, values and their mixture; scores and their softmax
    a head; the inner layer before and after its activation.
    """
    hidden, heads = getattr(layer, "intermediate_dim", None), getattr(layer, "num_heads", None)
    if hidden is None or heads is None:
        return 0
    size = int(_outputs(layer)[0].shape[-1])
    return tokens * (6 * size + 2 * int(hidden)) + 2 * int(heads) * tokens * tokens


def _outputs(layer: Any) -> list[Any]:
    output = layer.output
    return list(output.values()) if isinstance(output, dict) else output if isinstance(output, list) else [output]
