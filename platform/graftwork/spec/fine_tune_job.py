"""The FineTuneJob: what to train, on which data, how, and what to register. No I/O here.

A field stands here only when it works. Field docstrings become the JSON Schema, the CRD and the reference page.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from graftwork.spec.base import (
    Alias,
    Fraction,
    Inconsistency,
    Name,
    SpecModel,
    SpecObject,
    Text,
    Uri,
    exactly_one,
    refuse_if_any,
)

PositiveInt = Annotated[int, Field(ge=1)]
PixelSize = Annotated[int, Field(ge=16, le=2048)]


class Backbone(SpecModel):
    """The pre-trained model. Exactly one of `name`, `preset` and `path`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "EfficientNetB0"}]})

    name: Text | None = None
    """A `keras.applications` architecture, such as `EfficientNetB0`, `ResNet50` or `VGG16`."""
    preset: Text | None = None
    """A KerasHub image backbone preset, such as `resnet_50_imagenet`."""
    path: Uri | None = None
    """A `.keras` file or a KerasHub preset directory: a path or a URI."""
    weights: Text = "imagenet"
    """`imagenet` (the pre-trained weights that belong to the backbone), `none` (random) or the path or URI of a
    `.weights.h5` file. A `path` backbone brings its own weights: `imagenet` then means those."""
    output_layer: Text | None = None
    """Layer whose output the head grows on. Default: the last feature map before global pooling."""
    preprocessing: Literal["auto", "none", "zero-to-one", "minus-one-to-one", "imagenet", "caffe"] = "auto"
    """How RGB 0..255 is scaled for the backbone. `auto`: what it was trained with; for a `.keras` file that is `none`,
    because such a file holds its own scaling or takes 0..255."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        refuse_if_any(exactly_one(self, "name", "preset", "path"))
        return self


class ImageInput(SpecModel):
    """What a picture looks like when it reaches the model."""

    image_size: Annotated[list[PixelSize], Field(min_length=2, max_length=2)] | None = None
    """Height and width in pixels. Default: the size the backbone was trained with."""
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    """`stretch` ignores the aspect ratio, `crop` cuts the longer side, `pad` adds black borders."""


class DataSource(SpecModel):
    """Labelled pictures: a folder with one sub-folder a class, or a table with a path and a label column."""

    uri: Uri
    """Folder or manifest file: a path (relative to the spec file) or any URI fsspec can read."""
    format: Literal["auto", "image-folder", "csv", "parquet"] = "auto"
    """`auto` looks at the name: `.csv`, `.parquet`, otherwise a folder."""
    path_column: Text = "path"
    """Manifest column with the picture's path or URI, relative to the manifest."""
    label_column: Text = "label"
    """Manifest column with the class name."""


class SplitSource(SpecModel):
    """A data set of its own (`uri`) or a share split off the training data (`fraction`). Exactly one of the two."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"fraction": 0.15}]})

    uri: Uri | None = None
    """Folder or manifest file, as in `data.train`."""
    format: Literal["auto", "image-folder", "csv", "parquet"] = "auto"
    """As in `data.train`."""
    path_column: Text = "path"
    """As in `data.train`."""
    label_column: Text = "label"
    """As in `data.train`."""
    fraction: Fraction | None = None
    """Share of the training data, drawn class by class with the job's seed."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        refuse_if_any(exactly_one(self, "uri", "fraction"))
        return self


class NamedDataSource(DataSource):
    """A further test set with a name of its own."""

    name: Name
    """Name under which its metrics are reported."""


class Data(SpecModel):
    """Where the pictures come from and how they are split."""

    train: DataSource
    """Pictures to learn from."""
    validation: SplitSource = SplitSource(fraction=0.15)
    """Pictures that steer the training: early stopping, learning-rate reduction, the choice of the best epoch."""
    test: SplitSource = SplitSource(fraction=0.15)
    """Pictures seen only once, at the end; gates look at their metrics."""
    extra_tests: list[NamedDataSource] = Field(default_factory=list)
    """Further test sets, such as pictures from another camera: reported, not gated."""
    on_bad_image: Literal["fail", "skip"] = "fail"
    """What to do when a picture cannot be read: refuse the job and name each, or leave them out and say how many."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse_if_any(self._something_left_to_train_on(), *self._names_twice())
        return self

    def _something_left_to_train_on(self) -> Inconsistency | None:
        shares = (self.validation.fraction or 0) + (self.test.fraction or 0)
        if shares < 1:
            return None
        return Inconsistency(
            at=("test", "fraction"),
            received=f"{self.validation.fraction} for validation and {self.test.fraction} for test",
            expected="shares of the training data that add up to less than 1",
            fix="Use smaller shares, such as 0.15 and 0.15.",
            involves=(("validation", "fraction"),),
        )

    def _names_twice(self) -> list[Inconsistency]:
        names = [source.name for source in self.extra_tests]
        return [
            Inconsistency(
                at=("extraTests", position, "name"),
                received=f"`{name}`, which is taken",
                expected="a name of its own; `train`, `validation` and `test` are taken too",
                fix="Give each test set another name.",
            )
            for position, name in enumerate(names)
            if name in names[:position] or name in {"train", "validation", "test"}
        ]


class Augment(SpecModel):
    """One random change to training pictures. Exactly one key an entry; applied in the order of the list."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"flip": "horizontal"}]})

    flip: Literal["horizontal", "vertical", "both"] | None = None
    """Mirror at random."""
    rotate: Annotated[float, Field(gt=0, le=1)] | None = None
    """Turn by up to this share of a full circle, either way."""
    zoom: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Zoom in or out by up to this share."""
    translate: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Move by up to this share of height and width."""
    contrast: Annotated[float, Field(gt=0, le=1)] | None = None
    """Change contrast by up to this share."""
    brightness: Annotated[float, Field(gt=0, le=1)] | None = None
    """Change brightness by up to this share of the full range."""

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        refuse_if_any(exactly_one(self, "flip", "rotate", "zoom", "translate", "contrast", "brightness"))
        return self


class Head(SpecModel):
    """The new layers for the target task; the last one, with one output a class, follows from the data."""

    pooling: Literal["avg", "max"] = "avg"
    """How the feature map becomes a vector."""
    hidden: list[PositiveInt] = Field(default_factory=list)
    """Units of fully connected layers before the last one."""
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    """Activation of the hidden layers."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of units dropped in training, before each layer of the head."""


class Unfreeze(SpecModel):
    """Which backbone layers train in a phase. Exactly one key."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"lastLayers": 20}]})

    last_layers: PositiveInt | None = None
    """The last N layers, in the backbone's own order."""
    from_layer: Text | None = None
    """This layer and all that come after it. A block prefix (`block6a`) stands for its first layer."""
    fraction: Fraction | None = None
    """The last share of the layers."""

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        refuse_if_any(exactly_one(self, "lastLayers", "fromLayer", "fraction"))
        return self


def _unfreeze_tag(value: object) -> str:
    """Which alternative of `unfreeze` is meant: errors then speak of that one only."""
    return "some" if isinstance(value, (dict, Unfreeze)) else "word"


class Phase(SpecModel):
    """A stretch of training with one freeze setting and one learning rate."""

    name: Name
    """Name of the phase, unique in the job."""
    epochs: PositiveInt
    """How often to go through the training data; early stopping may end it sooner."""
    unfreeze: Annotated[
        Annotated[Literal["none", "all"], Tag("word")] | Annotated[Unfreeze, Tag("some")], Discriminator(_unfreeze_tag)
    ] = "none"
    """Which backbone layers train: `none`, `all`, or one of `{lastLayers: N}`, `{fromLayer: NAME}`,
    `{fraction: F}`. The head always trains."""
    learning_rate: Annotated[float, Field(gt=0, le=10)]
    """Learning rate at the start of the phase (after warm-up, if any)."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How the learning rate goes on: as it is, or down to zero along a half cosine over the phase."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """Epochs over which the learning rate rises linearly from zero."""

    @model_validator(mode="after")
    def _warm_up_ends(self) -> Self:
        refuse_if_any(
            Inconsistency(
                at=("warmupEpochs",),
                received=f"{self.warmup_epochs:g} warm-up epochs in a phase of {self.epochs}",
                expected="fewer than `epochs`",
                fix="Warm up for less, or train for more epochs.",
                involves=(("epochs",),),
            )
            if self.warmup_epochs >= self.epochs
            else None
        )
        return self


class EarlyStopping(SpecModel):
    """End a phase when the validation data shows no more progress; the phase keeps its best epoch."""

    monitor: Literal["val_loss", "val_accuracy"] = "val_loss"
    """What to watch."""
    patience: PositiveInt = 3
    """Epochs without progress before the phase ends."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """Smallest change that counts as progress."""


class ReduceOnPlateau(SpecModel):
    """Lower the learning rate when the validation data shows no more progress."""

    monitor: Literal["val_loss", "val_accuracy"] = "val_loss"
    """What to watch."""
    patience: PositiveInt = 2
    """Epochs without progress before the learning rate is lowered."""
    factor: Fraction = 0.5
    """What the learning rate is multiplied by."""
    min_learning_rate: Annotated[float, Field(ge=0)] = 1e-7
    """Never below this."""


class Training(SpecModel):
    """How to train."""

    backend: Literal["tensorflow"] = "tensorflow"
    """The Keras backend."""
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
    early_stopping: EarlyStopping | None = None
    """When to end a phase before its last epoch."""
    reduce_on_plateau: ReduceOnPlateau | None = None
    """When to lower the learning rate."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of splits, shuffling, augmentation, initial weights and dropout."""

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
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1
    """CPU cores of a worker: its threads and its Ray resource request."""
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0
    """GPUs of a worker: a share below 1, or a whole number."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often a run restarts its workers from the last checkpoint before it gives up."""

    @model_validator(mode="after")
    def _whole_gpus(self) -> Self:
        refuse_if_any(
            Inconsistency(
                at=("gpusPerWorker",),
                received=f"{self.gpus_per_worker:g}",
                expected="a share below 1, or a whole number (Ray hands out several GPUs only whole)",
                fix=f"Use {math.ceil(self.gpus_per_worker)}.",
            )
            if self.gpus_per_worker > 1 and not self.gpus_per_worker.is_integer()
            else None
        )
        return self


class Gate(SpecModel):
    """A condition on a test metric that the bundle must meet to be registered."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"metric": "accuracy", "min": 0.9}]})

    metric: Literal["accuracy", "top5_accuracy", "precision_macro", "recall_macro", "f1_macro", "auc_macro", "loss"]
    """Which test metric."""
    min: float | None = None
    """Lowest value that passes."""
    max: float | None = None
    """Highest value that passes."""
    not_worse_than: Alias | None = None
    """Alias (such as `champion`) of the registered model whose stored test metric must be reached. Passes while no
    version carries the alias."""

    @model_validator(mode="after")
    def _some_bound(self) -> Self:
        refuse_if_any(self._no_bound(), self._crossed(), *self._out_of_reach())
        return self

    def _no_bound(self) -> Inconsistency | None:
        if not (self.min is None and self.max is None and self.not_worse_than is None):
            return None
        return Inconsistency(
            received="no bound",
            expected="at least one of `min`, `max`, `notWorseThan`",
            fix="Add a bound, or remove the gate.",
            involves=(("min",), ("max",), ("notWorseThan",)),
        )

    def _crossed(self) -> Inconsistency | None:
        if self.min is None or self.max is None or self.min <= self.max:
            return None
        return Inconsistency(
            at=("max",),
            received=f"{self.max:g}, below `min` {self.min:g}",
            expected="`max` >= `min`",
            fix="Exchange the two, or remove one.",
            involves=(("min",),),
        )

    def _out_of_reach(self) -> list[Inconsistency]:
        highest = math.inf if self.metric == "loss" else 1.0
        return [
            Inconsistency(
                at=(key,),
                received=f"{bound:g}",
                expected="a loss >= 0" if self.metric == "loss" else f"a share from 0 to 1, as {self.metric} is",
                fix=f"Use {bound / 100:g}." if 1 < bound <= 100 else "Use a value the metric can take.",  # noqa: PLR2004
                involves=(("metric",),),
            )
            for key, bound in (("min", self.min), ("max", self.max))
            if bound is not None and not 0 <= bound <= highest
        ]


class Evaluation(SpecModel):
    """What is looked at after training."""

    gates: list[Gate] = Field(default_factory=list)
    """All must pass, or nothing is registered and the job fails with the figures."""
    baseline: Literal["none", "random-weights"] = "none"
    """`random-weights`: train the same phases again on the same backbone with random weights, and report what the
    pre-trained weights gained."""


class Register(SpecModel):
    """Under which name the bundle goes into the registry."""

    model: Name
    """Registered model name."""
    alias: Alias | None = "champion"
    """Alias to move to the new version."""


class FineTuneJobSpec(SpecModel):
    """What to train, on which data, how, and what to register."""

    task: Literal["image-classification"]
    """What the model is to do."""
    backbone: Backbone
    """The pre-trained model."""
    input: ImageInput = ImageInput()
    """What a picture looks like when it reaches the model."""
    data: Data
    """Where the pictures come from and how they are split."""
    augment: list[Augment] = Field(default_factory=list)
    """Random changes to training pictures, in this order."""
    head: Head = Head()
    """The new layers."""
    phases: Annotated[list[Phase], Field(min_length=1)]
    """Stretches of training, in order."""
    training: Training = Training()
    """How to train."""
    scaling: Scaling = Scaling()
    """On how many processes to train."""
    evaluation: Evaluation = Evaluation()
    """What is looked at after training."""
    register_: Register | None = Field(default=None, alias="register")
    """Under which name the bundle goes into the registry. Without it the bundle stays in the run's folder."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse_if_any(*self._phase_names_twice(), self._idle_workers(), *self._gates_without_model())
        return self

    def _phase_names_twice(self) -> list[Inconsistency]:
        names = [phase.name for phase in self.phases]
        return [
            Inconsistency(
                at=("phases", position, "name"),
                received=f"`{name}`, which an earlier phase has",
                expected="a name of its own for each phase",
                fix="Give the phase another name.",
            )
            for position, name in enumerate(names)
            if name in names[:position]
        ]

    def _idle_workers(self) -> Inconsistency | None:
        piece = self.training.batch_size // self.training.gradient_accumulation
        if self.scaling.workers <= piece:
            return None
        return Inconsistency(
            at=("scaling", "workers"),
            received=f"{self.scaling.workers} workers for {piece} examples at a time",
            expected="at least one example a worker (`batchSize` / `gradientAccumulation` >= `workers`)",
            fix=f"Use at most {piece} workers, or a larger `training.batchSize`.",
            involves=(("training", "batchSize"), ("training", "gradientAccumulation")),
        )

    def _gates_without_model(self) -> list[Inconsistency]:
        if self.register_ is not None:
            return []
        return [
            Inconsistency(
                at=("evaluation", "gates", position, "notWorseThan"),
                received=f"`{gate.not_worse_than}` in a job that registers nothing",
                expected="a `register` section, which names the model that carries the alias",
                fix="Add `register: {model: NAME}` to the spec, or remove `notWorseThan`.",
                involves=(("register",),),
            )
            for position, gate in enumerate(self.evaluation.gates)
            if gate.not_worse_than is not None
        ]


class FineTuneJob(SpecObject):
    """A transfer-learning job: fine-tunes a pre-trained Keras model and registers the result."""

    kind: Literal["FineTuneJob"]
    """Always `FineTuneJob`."""
    spec: FineTuneJobSpec
    """The job."""
