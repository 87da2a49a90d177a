"""Training pictures that are made of two: mixup blends them, cutmix pastes a part of one into the other.

Who is mixed with whom, and how, follows from (seed, phase, epoch) and the row alone, so it is the same for any number
of workers and any batch size. Keras' own layers mix within the batch at hand, which is another one on each worker.

Sources: Zhang et al. 2018 (arXiv:1710.09412), Yun et al. 2019 (arXiv:1905.04899), section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.spec.fine_tune_job import Augment

if TYPE_CHECKING:
    import tensorflow as tf

# Separates the random stream of mixing from those of `batch_plan`.
_MIX_STREAM = 4
# Corners of an example's box: top, bottom, left, right, the second and the last excluded.
_CORNERS = 4


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How training pictures are mixed.

    Attributes:
        mixup: both parameters of the beta distribution that shares are drawn from; None for no mixup.
        cutmix: the same for areas; None for no cutmix. With both, each example gets one of them, evenly.
        classes: where targets are class numbers, how many there are; None where they are numbers to be averaged.
    """

    mixup: float | None
    cutmix: float | None
    classes: int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class EpochMix:
    """What each row of the training data is mixed with in one epoch.

    Attributes:
        partners: row number of the other example, shape (examples,), int64; each example is the other one once.
        shares: share of the row itself in its target and weight, shape (examples,), float32.
        outside: share of the row itself in pixels outside the box, shape (examples,), float32; inside it has none.
        boxes: top, bottom, left, right in pixels, shape (examples, 4), int32; empty for mixup.
    """

    partners: NDArray[np.int64]
    shares: NDArray[np.float32]
    outside: NDArray[np.float32]
    boxes: NDArray[np.int32]

    def averaged(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """A number of each example, such as its weight, averaged over the two by their shares."""
        return np.asarray(self.shares * values + (1.0 - self.shares) * values[self.partners], np.float32)


def mixing_of(entries: Sequence[Augment], *, classes: int | None) -> Mixing | None:
    """What a spec's `augment` asks for; None without mixing."""
    mixup = next((entry.mixup for entry in entries if entry.mixup is not None), None)
    cutmix = next((entry.cutmix for entry in entries if entry.cutmix is not None), None)
    return None if mixup is None and cutmix is None else Mixing(mixup=mixup, cutmix=cutmix, classes=classes)


def epoch_mix(examples: int, mixing: Mixing, size: tuple[int, int], *, seed: int, phase: int, epoch: int) -> EpochMix:
    """Draw what each example is mixed with.

    Args:
        examples: size of the training data.
        mixing: how they are mixed.
        size: height and width of pictures in pixels.
        seed: the job's seed.
        phase: 0-based number of the phase.
        epoch: 0-based number of the epoch within the phase.
    """
    random = np.random.default_rng([seed, phase, epoch, _MIX_STREAM])
    partners = random.permutation(examples)
    cuts = random.random(examples) < (0.0 if mixing.cutmix is None else 1.0 if mixing.mixup is None else 0.5)
    blended = random.beta(mixing.mixup or 1.0, mixing.mixup or 1.0, examples)
    kept = random.beta(mixing.cutmix or 1.0, mixing.cutmix or 1.0, examples)
    boxes = np.where(cuts[:, None], _boxes(random, kept, size), 0).astype(np.int32)
    top, bottom, left, right = boxes.T
    # A box that reaches over the edge is smaller than it was drawn.
    pasted = (bottom - top) * (right - left) / (size[0] * size[1])
    return EpochMix(
        partners=partners,
        shares=np.where(cuts, 1.0 - pasted, blended).astype(np.float32),
        outside=np.where(cuts, 1.0, blended).astype(np.float32),
        boxes=boxes,
    )


def _boxes(random: np.random.Generator, kept: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.int64]:
    """Boxes of the pictures' form and of area 1 - `kept` around any point, as far as they lie within the picture."""
    middles = random.integers(0, size, (len(kept), 2))
    halves = (np.array(size) * np.sqrt(1.0 - kept)[:, None]).astype(np.int64) // 2
    low, high = np.clip(middles - halves, 0, size), np.clip(middles + halves, 0, size)
    return np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)


def mixed_pictures(own: tf.Tensor, other: tf.Tensor, outside: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
    """One picture of two.

    Args:
        own: shape (height, width, 3), float32.
        other: of the same shape.
        outside: share of `own` outside the box, float32; inside it has none.
        box: top, bottom, left, right, shape (4,), int32.
    """
    import tensorflow as tf

    top, bottom, left, right = tf.unstack(box, num=_CORNERS)
    rows, columns = tf.range(own.shape[0]), tf.range(own.shape[1])
    inside_rows = tf.logical_and(rows >= top, rows < bottom)
    inside_columns = tf.logical_and(columns >= left, columns < right)
    inside = tf.logical_and(inside_rows[:, None], inside_columns[None, :])
    share = tf.where(inside, 0.0, outside)[:, :, None]
    return share * own + (1.0 - share) * other


def mixed_targets(own: Any, other: Any, shares: Any, classes: int | None) -> Any:
    """Targets of mixed examples: shares of classes, or averages of numbers.

    Args:
        own: targets of some rows, shape (rows, ...).
        other: those of their partners.
        shares: of the first, shape (rows,), float32.
        classes: as in `Mixing`.

    Returns:
        Shape (rows, classes) for class numbers, else that of `own`; float32.
    """
    import tensorflow as tf

    if classes is not None:
        own, other = (tf.one_hot(numbers, classes, dtype=tf.float32) for numbers in (own, other))
    share = shares[:, None]
    return share * tf.cast(own, tf.float32) + (1.0 - share) * tf.cast(other, tf.float32)
