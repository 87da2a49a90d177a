"""Answers averaged over a picture and its mirror images: at test time, and within the model that a bundle holds."""

from __future__ import annotations

from typing import Any, Final

import keras
from keras import ops

from graftwork.spec.fine_tune_job import Mirror

# Axes of a batch of pictures that each of its versions is turned over.
_TURNS: Final[dict[Mirror, tuple[tuple[int, ...], ...]]] = {
    "horizontal": ((), (2,)),
    "vertical": ((), (1,)),
    "both": ((), (2,), (1,), (1, 2)),
}


def count_of(mirror: Mirror | None) -> int:
    """How many versions of each picture there are."""
    return 1 if mirror is None else len(_TURNS[mirror])


def versions(pictures: Any, mirror: Mirror | None) -> list[Any]:
    """The pictures as they are, then their mirror images; shape (rows, height, width, 3) each."""
    if mirror is None:
        return [pictures]
    return [ops.flip(pictures, axis=turn) if turn else pictures for turn in _TURNS[mirror]]


def averaging_mirrored(model: keras.Model, mirror: Mirror) -> keras.Model:
    """A model that answers with the mean of what another one says of the pictures and their mirror images.

    All versions go through in one pass. Made of stock Keras parts, so that every engine that runs the other runs this.

    Args:
        model: one input, pictures, to predictions; the last layer is called `scores`.
        mirror: which mirror images.
    """
    if mirror == "both":
        # The mean of four is that of two means; OpenVINO 2026.4 does not convert a stack of pictures turned both ways.
        return averaging_mirrored(averaging_mirrored(model, "horizontal"), "vertical")
    given = model.inputs[0]
    pictures = keras.Input(shape=given.shape[1:], dtype=given.dtype, name=given.name)
    stacked = versions(pictures, mirror)
    answers = model(ops.concatenate(stacked, axis=0))
    by_version = ops.reshape(answers, (len(stacked), -1, answers.shape[-1]))
    scores = keras.layers.Activation("linear", dtype="float32", name="scores")(ops.mean(by_version, axis=0))
    return keras.Model(pictures, scores, name=f"{mirror}_{model.name}")
