"""Batches for training and evaluation: pictures read, decoded, resized and stacked in tf.data, in a fixed order.

Which rows, weights and seeds a batch has is decided by `graftwork_jobs.data.batch_plan`; how a picture becomes pixels
by `graftwork.preprocess.image`, the same code that serving runs.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from graftwork.data_files.fetch import FetchError, local_path
from graftwork.errors import PermanentError
from graftwork.preprocess.image import ImageError, ImageSpec, decode_image
from graftwork_jobs.data.batch_plan import BatchPlan, augmentation_seeds, epoch_rows, partner_seeds, view_seeds
from graftwork_jobs.data.index import Split
from graftwork_jobs.data.mixing import EpochMix, Mixing, epoch_mix, mixed_pictures, mixed_targets
from graftwork_jobs.data.tuning import untuned

if TYPE_CHECKING:
    import tensorflow as tf

Augmenter: TypeAlias = "Callable[[tf.Tensor, tf.Tensor], tf.Tensor]"
"""One picture, float32 (height, width, 3) in 0..255, and a seed, int32 (2,), to the changed picture."""

# Batches made ahead of the one in use.
_PREFETCH_BATCHES = 2


class ChangedDataError(PermanentError):
    """A picture is no longer what it was when the data was scanned."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PictureReader:
    """Reads single pictures of a split.

    Attributes:
        split: where the pictures are and what they must contain.
        image: what to bring them to.
        cache_dir: where copies of remote files are kept.
    """

    split: Split
    image: ImageSpec
    cache_dir: Path

    def read(self, row: int) -> NDArray[np.uint8]:
        """One picture, RGB 0..255, shape (height, width, 3).

        Raises:
            ChangedDataError: the picture is gone, or its content is not what the scan saw.
        """
        uri = self.split.inputs[row]
        try:
            data = local_path(uri, self.cache_dir).read_bytes()
        except (OSError, FetchError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ChangedDataError(_changed(self.split.name, uri, f"it cannot be read any more ({reason})")) from error
        if hashlib.sha256(data).hexdigest() != self.split.digests[row]:
            raise ChangedDataError(_changed(self.split.name, uri, "its content has changed"))
        try:
            return decode_image(data, self.image)
        except ImageError as error:
            raise ChangedDataError(_changed(self.split.name, uri, f"it cannot be decoded: {error}")) from error


def _changed(split: str, uri: str, what: str) -> str:
    text = f"{uri} ({split} data): since the data was scanned, {what}. Restore the file, or start the job over"
    return " ".join(text.split())


def train_batches(
    split: Split,
    image: ImageSpec,
    plan: BatchPlan,
    *,
    seed: int,
    phase: int,
    epoch: int,
    row_weights: NDArray[np.float32] | None,
    augment: Augmenter | None,
    cache_dir: Path,
    mixing: Mixing | None = None,
    start_step: int = 0,
    threads: int | None = None,
) -> tf.data.Dataset:
    """One epoch of one worker.

    Args:
        split: what to train on.
        image: what pictures are brought to.
        plan: how global batches are cut up.
        seed: the job's seed.
        phase: 0-based number of the phase.
        epoch: 0-based number of the epoch within the phase.
        row_weights: how much each example counts, shape (examples,); None for 1 throughout.
        augment: random change to each picture; None for none.
        cache_dir: where copies of remote files are kept.
        mixing: how pictures are mixed with others; None for not.
        start_step: steps to leave out at the beginning (an interrupted epoch goes on there).
        threads: most pictures decoded at once; default: the CPUs this process may use.

    Returns:
        `plan.steps(len(split)) - start_step` elements: pictures float32 (rows, height, width, 3) in 0..255, targets
        (rows, ...), weights float32 (rows,); rows is `plan.rows_per_rank` throughout. Targets of mixed class numbers
        are shares of the classes, float32 (rows, classes).
    """
    import tensorflow as tf

    where = {"seed": seed, "phase": phase, "epoch": epoch}
    mix = None if mixing is None else epoch_mix(len(split), mixing, (image.height, image.width), **where)
    if mix is not None and row_weights is not None:
        row_weights = mix.averaged(row_weights)
    part = epoch_rows(len(split), plan, **where, row_weights=row_weights)
    rows, weights = part.rows[start_step:].reshape(-1), part.weights[start_step:].reshape(-1)
    reader = PictureReader(split=split, image=image, cache_dir=cache_dir)
    columns: tuple[Any, ...] = (rows, split.targets[rows], weights)
    if augment is not None:
        columns = (*columns, augmentation_seeds(rows, **where))
    if mixing is not None and mix is not None:
        columns = (*columns, _partners(split, rows, mix, where, augment))
        batches = _batched(
            columns, plan.rows_per_rank, element=_mixed_element(reader, augment), threads=threads, whole=True
        )
        return batches.map(partial(_with_mixed_targets, mixing), num_parallel_calls=1, deterministic=True).prefetch(
            _PREFETCH_BATCHES
        )
    return (
        _batched(columns, plan.rows_per_rank, element=_element(reader, augment), threads=threads, whole=True)
        .map(
            lambda pictures, *others: (tf.cast(pictures, tf.float32), *others), num_parallel_calls=1, deterministic=True
        )
        .prefetch(_PREFETCH_BATCHES)
    )


def _partners(
    split: Split, rows: NDArray[np.int64], mix: EpochMix, where: dict[str, int], augment: Augmenter | None
) -> dict[str, NDArray[Any]]:
    """What some rows are mixed with, and how."""
    others = mix.partners[rows]
    columns = {
        "row": others,
        "target": split.targets[others],
        "share": mix.shares[rows],
        "outside": mix.outside[rows],
        "box": mix.boxes[rows],
    }
    if augment is not None:
        columns["seed"] = partner_seeds(others, **where)
    return columns


def eval_batches(
    split: Split,
    image: ImageSpec,
    *,
    batch_size: int,
    rank: int,
    world: int,
    cache_dir: Path,
    threads: int | None = None,
) -> tf.data.Dataset:
    """One worker's share of a split, in row order: rows `rank`, `rank + world`, ... each exactly once.

    Args:
        split: what to evaluate.
        image: what pictures are brought to.
        batch_size: rows per batch of this worker; the last batch may be shorter.
        rank: this worker, 0-based.
        world: number of workers.
        cache_dir: where copies of remote files are kept.
        threads: most pictures decoded at once; default: the CPUs this process may use.

    Returns:
        Elements: pictures float32 (rows, height, width, 3) in 0..255 and targets (rows, ...).
    """
    import tensorflow as tf

    rows = np.arange(rank, len(split), world)
    reader = PictureReader(split=split, image=image, cache_dir=cache_dir)
    return (
        _batched((rows, split.targets[rows]), batch_size, element=_element(reader, None), threads=threads, whole=False)
        .map(
            lambda pictures, targets: (tf.cast(pictures, tf.float32), targets), num_parallel_calls=1, deterministic=True
        )
        .prefetch(_PREFETCH_BATCHES)
    )


def view_batches(
    split: Split,
    image: ImageSpec,
    views: Sequence[tuple[int, int]],
    *,
    batch_size: int,
    rank: int,
    world: int,
    augment: Augmenter,
    cache_dir: Path,
    threads: int | None = None,
) -> tf.data.Dataset:
    """Randomly changed versions of one worker's share of a split, each picture decoded once.

    Args:
        split: what to change.
        image: what pictures are brought to.
        views: seed and number of each version, see `graftwork_jobs.data.batch_plan.view_seeds`.
        batch_size: rows per batch of this worker; the last batch may be shorter.
        rank: this worker, 0-based.
        world: number of workers.
        augment: the random change.
        cache_dir: where copies of remote files are kept.
        threads: most pictures decoded at once; default: the CPUs this process may use.

    Returns:
        Elements: pictures float32 (rows * views, height, width, 3) in 0..255, the versions of a row side by side.
    """
    import tensorflow as tf

    rows = np.arange(rank, len(split), world)
    seeds = np.stack([view_seeds(rows, seed=seed, view=view) for seed, view in views], axis=1)
    reader = PictureReader(split=split, image=image, cache_dir=cache_dir)

    def versions(picture: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        return tf.stack([augment(picture, seeds[number]) for number in range(len(views))])

    batches = _batched((rows, seeds), batch_size, element=_element(reader, versions), threads=threads, whole=False)
    shape = (-1, image.height, image.width, 3)
    return batches.map(lambda pictures: tf.reshape(pictures, shape), num_parallel_calls=1, deterministic=True).prefetch(
        _PREFETCH_BATCHES
    )


@contextmanager
def readable_data_errors() -> Iterator[None]:
    """Around whatever goes through batches: TensorFlow's wrapping of a `ChangedDataError` is taken off again.

    Raises:
        ChangedDataError: instead of the `tf.errors.OpError` it arrived in.
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        found = re.search(rf"{ChangedDataError.__name__}: (.*)", str(error))
        if found is None:
            raise
        raise ChangedDataError(found[1].strip()) from error


def _picture(reader: PictureReader, row: tf.Tensor) -> tf.Tensor:
    """One picture, uint8."""
    import tensorflow as tf

    pixels = tf.numpy_function(reader.read, [row], tf.uint8, stateful=False)
    pixels.set_shape((reader.image.height, reader.image.width, 3))
    return pixels


def _element(reader: PictureReader, augment: Augmenter | None) -> Callable[..., Any]:
    """Puts the picture in place of its row number, the first column; the last one is seeds if `augment`."""
    import tensorflow as tf

    def element(row: tf.Tensor, *others: tf.Tensor) -> tf.Tensor | tuple[tf.Tensor, ...]:
        pixels = _picture(reader, row)
        if augment is None:
            return pixels, *others
        changed = augment(tf.cast(pixels, tf.float32), others[-1])
        return (changed, *others[:-1]) if len(others) > 1 else changed

    return element


def _mixed_element(reader: PictureReader, augment: Augmenter | None) -> Callable[..., Any]:
    """As `_element`, with a last column that says what to mix the picture with."""
    import tensorflow as tf

    def read(row: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        pixels = tf.cast(_picture(reader, row), tf.float32)
        return pixels if augment is None or seed is None else augment(pixels, seed)

    def element(
        row: tf.Tensor, target: tf.Tensor, weight: tf.Tensor, *others: Any
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        *seeds, partner = others
        own, other = read(row, *(seeds or [None])), read(partner["row"], partner.get("seed"))
        mixed = mixed_pictures(own, other, partner["outside"], partner["box"])
        return mixed, target, weight, partner["target"], partner["share"]

    return element


def _with_mixed_targets(
    mixing: Mixing, pictures: tf.Tensor, own: tf.Tensor, weights: tf.Tensor, other: tf.Tensor, shares: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    return pictures, mixed_targets(own, other, shares, mixing.classes), weights


def _batched(
    columns: tuple[Any, ...], batch_size: int, *, element: Callable[..., Any], threads: int | None, whole: bool
) -> tf.data.Dataset:
    """Batches of what `element` makes of the columns' rows, several at a time, in order."""
    import tensorflow as tf

    threads = threads or len(os.sched_getaffinity(0))
    dataset = tf.data.Dataset.from_tensor_slices(columns)
    dataset = dataset.map(element, num_parallel_calls=threads, deterministic=True)
    dataset = dataset.batch(batch_size, drop_remainder=whole)
    return untuned(dataset, threads=threads)


__all__ = [
    "Augmenter",
    "BatchPlan",
    "ChangedDataError",
    "PictureReader",
    "eval_batches",
    "readable_data_errors",
    "train_batches",
    "view_batches",
]
