"""The training sections of a FineTuneJob: phases, optimisation, workers. No I/O here."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from graftwork.spec.base import Fraction, Inconsistency, Name, PositiveInt, SpecModel, Text, exactly_one, refuse_if_any
from graftwork.spec.target_metrics import Monitor


class Lora(SpecModel):
    """Low-rank adapters: beside the kernel of each fully connected layer of the backbone, two small matrices train."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 8
    """Numbers between the two matrices: more can learn more, and cost more."""
    alpha: Annotated[float, Field(gt=0)] | None = None
    """The product of the matrices counts `alpha / rank` times. Default: once, whatever the rank."""

    @property
    def scale(self) -> float:
        """What the product of the matrices is multiplied by."""
        return 1.0 if self.alpha is None else self.alpha / self.rank


class Gradually(SpecModel):
    """Begin with the head alone, and unfreeze the backbone block by block from there downwards, within one phase."""

    one_block_every: PositiveInt
    """Epochs after which one more block trains."""
    down_to: Text | None = None
    """The last block to unfreeze, such as `block5a`; default: as deep as the epochs reach."""


class Unfreeze(SpecModel):
    """Which backbone layers train in a phase. Exactly one key."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"lastLayers": 20}]})

    last_layers: PositiveInt | None = None
    """The last N layers, in the backbone's own order."""
    from_layer: Text | None = None
    """This layer and all that come after it. A block prefix (`block6a`) stands for its first layer."""
    fraction: Fraction | None = None
    """The last share of the layers."""
    lora: Lora | None = None
    """No layer itself but low-rank adapters beside them, such as `{lora: {rank: 8}}`; merged into the layers when the
    phase ends."""
    gradually: Gradually | None = None
    """The head first, then one more block every few epochs, such as `{gradually: {oneBlockEvery: 2}}`. Blocks are what
    layer names begin with, as for `training.layerDecay`. Early stopping and `reduceOnPlateau` count anew from each."""

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        refuse_if_any(exactly_one(self, "lastLayers", "fromLayer", "fraction", "lora", "gradually"))
        return self


def lora_words(lora: Lora) -> str:
    """Adapters for people: `lora rank 8`."""
    return f"lora rank {lora.rank}" + ("" if lora.alpha is None else f" alpha {lora.alpha:g}")


def _tag(value: object) -> str:
    """Which alternative is meant, a word or a section: errors then speak of that one only."""
    return "some" if isinstance(value, (dict, SpecModel)) else "word"


class Phase(SpecModel):
    """A stretch of training with one freeze setting and one learning rate."""

    name: Name
    """Name of the phase, unique in the job."""
    epochs: PositiveInt
    """How often to go through the training data; early stopping may end it sooner."""
    unfreeze: Annotated[
        Annotated[Literal["none", "all", "lora"], Tag("word")] | Annotated[Unfreeze, Tag("some")],
        Discriminator(_tag),
    ] = "none"
    """Which backbone layers train: `none`, `all`, or one of `{lastLayers: N}`, `{fromLayer: NAME}`,
    `{fraction: F}`, `{lora: {rank: R}}` (`lora` stands for rank 8), `{gradually: {oneBlockEvery: N}}`. The head always
    trains."""
    learning_rate: Annotated[float, Field(gt=0, le=10)]
    """Learning rate at the start of the phase (after warm-up, if any)."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How the learning rate goes on: as it is, or down to zero along a half cosine over the phase."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """Epochs over which the learning rate rises linearly from zero."""

    @property
    def lora(self) -> Lora | None:
        """The adapters that train in the phase; None if none do."""
        if isinstance(self.unfreeze, Unfreeze):
            return self.unfreeze.lora
        return Lora() if self.unfreeze == "lora" else None

    @property
    def gradually(self) -> Gradually | None:
        """How the backbone is unfrozen block by block; None if the same layers train throughout."""
        return self.unfreeze.gradually if isinstance(self.unfreeze, Unfreeze) else None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse_if_any(self._endless_warm_up(), self._nothing_unfrozen())
        return self

    def _endless_warm_up(self) -> Inconsistency | None:
        if self.warmup_epochs < self.epochs:
            return None
        return Inconsistency(
            at=("warmupEpochs",),
            received=f"{self.warmup_epochs:g} warm-up epochs in a phase of {self.epochs}",
            expected="fewer than `epochs`",
            fix="Warm up for less, or train for more epochs.",
            involves=(("epochs",),),
        )

    def _nothing_unfrozen(self) -> Inconsistency | None:
        if self.gradually is None or self.gradually.one_block_every < self.epochs:
            return None
        return Inconsistency(
            at=("unfreeze", "gradually", "oneBlockEvery"),
            received=f"{self.gradually.one_block_every} in a phase of {self.epochs} epochs, which unfreezes nothing",
            expected="fewer than `epochs`",
            fix="Unfreeze sooner, train for more epochs, or use `unfreeze: none`.",
            involves=(("epochs",),),
        )


class Features(SpecModel):
    """What becomes of the outputs of layers that do not train."""

    cache: Literal["auto", "none"] = "auto"
    """`auto`: in a phase without augmentation, or with `views`, compute what lies below the freeze boundary once per
    picture rather than once per epoch, and keep it for later phases, runs and jobs on the same pictures. `none`:
    compute it every time."""
    views: Annotated[int, Field(ge=1, le=256)] | None = None
    """With augmentation: draw this many random versions of each training picture once, and let the epochs go through
    them evenly. Faster than the default, which draws fresh versions in every epoch, and less varied."""

    @model_validator(mode="after")
    def _views_are_kept(self) -> Self:
        refuse_if_any(
            Inconsistency(
                at=("views",),
                received=f"{self.views} with `cache: none`",
                expected="`cache: auto`, for views are kept in the cache",
                fix="Remove `cache: none`, or `views`.",
                involves=(("cache",),),
            )
            if self.views is not None and self.cache == "none"
            else None
        )
        return self


class EarlyStopping(SpecModel):
    """End a phase when the validation data shows no more progress; the phase keeps its best epoch."""

    monitor: Monitor = "val_loss"
    """What to watch."""
    patience: PositiveInt = 3
    """Epochs without progress before the phase ends."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """Smallest change that counts as progress."""


class ReduceOnPlateau(SpecModel):
    """Lower the learning rate when the validation data shows no more progress."""

    monitor: Monitor = "val_loss"
    """What to watch."""
    patience: PositiveInt = 2
    """Epochs without progress before the learning rate is lowered."""
    factor: Fraction = 0.5
    """What the learning rate is multiplied by."""
    min_learning_rate: Annotated[float, Field(ge=0)] = 1e-7
    """Never below this."""


class Focal(SpecModel):
    """How much less an example counts that is right already."""

    gamma: Annotated[float, Field(ge=0, le=10)] = 2.0
    """Each loss is multiplied by the remaining error to this power; 0 is cross-entropy."""


class FocalLoss(SpecModel):
    """Focal loss: hard and rare examples count more. Source: Lin et al. 2017 (arXiv:1708.02002)."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"focal": {"gamma": 2}}]})

    focal: Focal
    """Its strength."""


class Ema(SpecModel):
    """Keep a running average of the weights; validation, checkpoints of the best epoch and the bundle use it."""

    decay: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Share of the average that an update keeps; in the first updates less, `(1 + n) / (10 + n)` at most."""


KerasBackend: TypeAlias = Literal["tensorflow", "jax"]
"""What Keras can train on."""


class Training(SpecModel):
    """How to train."""

    backend: KerasBackend = "tensorflow"
    """What Keras trains on. `jax` compiles steps with XLA, which pays on GPUs; it needs `graftwork[jax]`. Results agree
    within rounding, except for dropout, whose masks each draws in its own way."""
    batch_size: PositiveInt = 32
    """Examples per weight update, over all workers together: results do not depend on the number of workers."""
    gradient_accumulation: PositiveInt = 1
    """Pieces a batch is computed in, to save memory; must divide `batchSize`. The result stays the same."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """`sgd` is used with a momentum of 0.9."""
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decoupled weight decay; biases and normalisation are left out."""
    gradient_clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest global norm of the gradients."""
    loss: Annotated[
        Annotated[Literal["auto", "mse", "mae", "huber"], Tag("word")] | Annotated[FocalLoss, Tag("some")],
        Discriminator(_tag),
    ] = "auto"
    """What is minimised. Regression: squared (`mse`, the default), absolute (`mae`) or Huber error of the standardised
    numbers; the last two mind outliers less. Classification: cross-entropy (`auto`)."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each label spread over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced`: weigh each class by the inverse of its frequency in the training data."""
    batch_norm: Literal["auto", "inference", "train"] = "auto"
    """Mode of the backbone's BatchNorm layers where they are unfrozen. `inference` keeps their pre-trained statistics;
    `train` updates them, synchronised over the workers. `auto`: `train` for random weights, else `inference`. Frozen
    layers are always in inference mode."""
    mixed_precision: Literal["auto", "none", "bfloat16"] = "auto"
    """Compute in bfloat16 with float32 weights. `auto`: on a GPU that has it, not on CPU."""
    steps_per_execution: Literal["auto"] | PositiveInt = "auto"
    """Batches that TensorFlow trains on in one call from Python. `auto`: measured, so that calls cost no time that
    counts. JAX queues steps itself. Results do not depend on it; a checkpoint within an epoch waits for the call."""
    ema: Ema | None = None
    """Average the weights over updates. Without it the last update's count."""
    layer_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Lower the learning rate towards the input: the head has the phase's, and each block of the backbone below it
    this share of the rate of the block above. Blocks are what layer names begin with, such as `block6a`."""
    early_stopping: EarlyStopping | None = None
    """When to end a phase before its last epoch."""
    reduce_on_plateau: ReduceOnPlateau | None = None
    """When to lower the learning rate."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of splits, shuffling, augmentation, initial weights and dropout."""

    @property
    def loss_name(self) -> str:
        """The loss in one word."""
        return self.loss if isinstance(self.loss, str) else "focal"

    @property
    def focal_gamma(self) -> float | None:
        """Strength of the focal loss; None for any other."""
        return None if isinstance(self.loss, str) else self.loss.focal.gamma

    @model_validator(mode="after")
    def _whole_pieces(self) -> Self:
        refuse_if_any(
            Inconsistency(
                at=("gradientAccumulation",),
                received=f"{self.gradient_accumulation} pieces of a batch of {self.batch_size}",
                expected="a divisor of `batchSize`",
                fix=f"Use {_nearest_divisor(self.batch_size, self.gradient_accumulation)}, or change `batchSize`.",
                involves=(("batchSize",),),
            )
            if self.batch_size % self.gradient_accumulation
            else None
        )
        return self


def _nearest_divisor(number: int, wanted: int) -> int:
    divisors = (each for each in range(1, number + 1) if number % each == 0)
    return min(divisors, key=lambda each: abs(each - wanted))


class Scaling(SpecModel):
    """On how many processes to train."""

    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    """Ray Train workers; each takes its share of every batch."""
    min_workers: Annotated[int, Field(ge=1)] | None = None
    """Fewest workers to train with while the cluster has no room for `workers`; default: `workers`. Their number then
    follows the room there is, each time from the last checkpoint; results do not depend on it."""
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1
    """CPU cores of a worker: its threads and its Ray resource request."""
    gpus_per_worker: Annotated[float, Field(ge=0, le=1)] = 0
    """1: each worker computes on an NVIDIA GPU of its own. A share such as 0.25 lets several one-worker jobs, or trials
    of a search, compute on one GPU; they get that share of its memory. 0: workers compute on the CPU."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often a run restarts its workers from the last checkpoint before it gives up."""
    checkpoint_every_seconds: Annotated[float, Field(gt=0)] = 300
    """Seconds of training that a crash may cost, about: within long epochs, a checkpoint is written that often. After
    an epoch there is one as soon as writing it costs no more than a tenth of what it would save, and one at once when
    a cluster announces that it takes a machine away."""
    scheduling_timeout_seconds: Annotated[float, Field(gt=0)] = 600
    """How long to wait until the cluster has room for the workers and they have started."""
    stall_timeout_seconds: Annotated[float, Field(gt=0)] = 1800
    """Workers that show no progress for so long are taken to hang: they are ended and started again from the last
    checkpoint, as often as `maxFailures` says."""
    preflight: Literal["auto", "none"] = "auto"
    """`auto`: before each phase on several workers, two weight updates of theirs are compared with what one worker
    computes on the same batches, and taken back; a difference beyond rounding stops the job and is named. `none`: no
    comparison."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse_if_any(
            Inconsistency(
                at=("minWorkers",),
                received=str(self.min_workers),
                expected=f"at most {self.workers}, the number of workers",
                fix="Lower minWorkers, or raise workers.",
            )
            if self.min_workers is not None and self.min_workers > self.workers
            else None,
            Inconsistency(
                at=("gpusPerWorker",),
                received=f"{self.gpus_per_worker:g}, while {self.workers} workers exchange gradients",
                expected="1 with several workers (NVIDIA's NCCL connects no two processes on one GPU), or 0",
                fix="Use `gpusPerWorker: 1`, or `workers: 1`: one process uses all of a GPU.",
                involves=(("workers",),),
            )
            if 0 < self.gpus_per_worker < 1 < self.workers
            else None,
        )
        return self
