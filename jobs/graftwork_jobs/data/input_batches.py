"""What the examples of a job are made into: batches of pictures or of token ids, behind one interface.

The training loop, feature extraction and prediction go through `InputBatches` and know nothing of what is inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from graftwork.preprocess.image import ImageSpec
from graftwork_jobs.data.batch_plan import BatchPlan
from graftwork_jobs.data.index import Split
from graftwork_jobs.data.mixing import Mixing
from graftwork_jobs.data.pipeline import eval_batches, train_batches, view_batches

if TYPE_CHECKING:
    import tensorflow as tf

    from graftwork_jobs.data.pipeline import Augmenter


@dataclass(frozen=True, kw_only=True)
class EpochSeed:
    """What the random choices of an epoch follow from.

    Attributes:
        seed: the job's seed.
        phase: 0-based number of the phase.
        epoch: 0-based number of the epoch within the phase.
    """

    seed: int
    phase: int
    epoch: int


class InputBatches(Protocol):
    """Turns rows of a split into what the network takes."""

    @property
    def is_random(self) -> bool:
        """Whether an example looks different in every epoch."""
        ...

    def facts(self) -> dict[str, Any]:
        """What decides how an example becomes an array, besides its content; JSON-ready."""
        ...

    def view_facts(self) -> dict[str, Any]:
        """What decides how a random version of an example becomes an array, besides content, seed and number."""
        ...

    def signature(self) -> tf.TensorSpec:
        """Shape and type of a batch of inputs."""
        ...

    def training(
        self,
        split: Split,
        plan: BatchPlan,
        epoch: EpochSeed,
        *,
        row_weights: NDArray[np.float32] | None,
        start_step: int = 0,
    ) -> tf.data.Dataset:
        """One epoch of one worker from a step on: elements (inputs, targets, weights float32), rows as `plan` says."""
        ...

    def evaluation(self, split: Split, *, batch_size: int, rank: int, world: int) -> tf.data.Dataset:
        """Rows `rank`, `rank + world`, ... of a split, each once: elements (inputs, targets)."""
        ...

    def views(
        self, split: Split, views: Sequence[tuple[int, int]], *, batch_size: int, rank: int, world: int
    ) -> Iterable[tf.Tensor]:
        """Randomly changed versions of rows `rank`, `rank + world`, ...

        Args:
            split: whose rows.
            views: seed and number of each version; what they decide is the same in every epoch, phase and run.
            batch_size: rows per batch, of each of which come `len(views)` versions one after the other.
            rank: this worker, 0-based.
            world: number of workers.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class PictureBatches:
    """Reads, decodes and resizes pictures in every epoch; RGB 0..255, float32, shape (rows, height, width, 3).

    Attributes:
        image: what pictures are brought to.
        augment: random change to each training picture; None for none.
        changes: what `augment` does, in words that differ where it does.
        mixing: how training pictures are mixed with others; None for not.
        cache_dir: where copies of remote pictures are kept.
    """

    image: ImageSpec
    augment: Augmenter | None
    changes: tuple[str, ...] = ()
    mixing: Mixing | None = None
    cache_dir: Path

    @property
    def is_random(self) -> bool:
        """Whether pictures are changed at random."""
        return self.augment is not None

    def facts(self) -> dict[str, Any]:
        """Size and way of resizing."""
        return asdict(self.image)

    def view_facts(self) -> dict[str, Any]:
        """The random changes too; what they do follows from Keras' layers, so from its version."""
        import keras

        return {**self.facts(), "changes": list(self.changes), "keras": keras.__version__}

    def signature(self) -> tf.TensorSpec:
        """Of a batch of pictures."""
        import tensorflow as tf

        return tf.TensorSpec([None, self.image.height, self.image.width, 3], tf.float32)

    def training(
        self,
        split: Split,
        plan: BatchPlan,
        epoch: EpochSeed,
        *,
        row_weights: NDArray[np.float32] | None,
        start_step: int = 0,
    ) -> tf.data.Dataset:
        """One epoch of pictures."""
        return train_batches(
            split,
            self.image,
            plan,
            seed=epoch.seed,
            phase=epoch.phase,
            epoch=epoch.epoch,
            row_weights=row_weights,
            start_step=start_step,
            augment=self.augment,
            mixing=self.mixing,
            cache_dir=self.cache_dir,
        )

    def evaluation(self, split: Split, *, batch_size: int, rank: int, world: int) -> tf.data.Dataset:
        """This worker's share of a split of pictures."""
        return eval_batches(split, self.image, batch_size=batch_size, rank=rank, world=world, cache_dir=self.cache_dir)

    def views(
        self, split: Split, views: Sequence[tuple[int, int]], *, batch_size: int, rank: int, world: int
    ) -> Iterable[tf.Tensor]:
        """Stored views of this worker's share of a split of pictures."""
        if self.augment is None:
            raise ValueError("received a wish for views, expected a job with augmentation")
        batches: Iterable[tf.Tensor] = view_batches(
            split,
            self.image,
            views,
            batch_size=batch_size,
            rank=rank,
            world=world,
            augment=self.augment,
            cache_dir=self.cache_dir,
        )
        return batches
