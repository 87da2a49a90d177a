"""The FineTuneJob: what to train, on which data, how, and what to register. No I/O here.

A field stands here only when it works. Field docstrings become the JSON Schema, the CRD and the reference page.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from graftwork.spec.base import ApiVersion, Fraction, Name, ObjectMeta, SpecModel, Uri

PositiveInt = Annotated[int, Field(ge=1)]
PixelSize = Annotated[int, Field(ge=16, le=2048)]


class Backbone(SpecModel):
    """The pre-trained model. Exactly one of `name`, `preset` and `path`."""

    name: str | None = None
    """A `keras.applications` architecture, such as `EfficientNetB0`, `ResNet50` or `VGG16`."""
    preset: str | None = None
    """A KerasHub image backbone preset, such as `resnet_50_imagenet`."""
    path: Uri | None = None
    """A `.keras` file or a KerasHub preset directory: a path or a URI."""
    weights: str = "imagenet"
    """`imagenet` (the pre-trained weights that belong to the backbone), `none` (random) or the path or URI of a
    `.weights.h5` file. A `path` backbone brings its own weights: `imagenet` then means those."""
    output_layer: str | None = None
    """Layer whose output the head grows on. Default: the last feature map before global pooling."""
    preprocessing: Literal["auto", "none", "zeroToOne", "minusOneToOne", "imagenet", "caffe"] = "auto"
    """How RGB 0..255 is scaled for the backbone. `auto`: what it was trained with; for a `.keras` file that is `none`,
    because such a file holds its own scaling or takes 0..255."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [key for key in ("name", "preset", "path") if getattr(self, key) is not None]
        if len(given) != 1:
            received = " and ".join(given) if given else "none of them"
            raise ValueError(f"received {received}, expected exactly one of name, preset, path")
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
    path_column: str = "path"
    """Manifest column with the picture's path or URI, relative to the manifest."""
    label_column: str = "label"
    """Manifest column with the class name."""


class SplitSource(SpecModel):
    """A data set of its own (`uri`) or a share split off the training data (`fraction`). Exactly one of the two."""

    uri: Uri | None = None
    """Folder or manifest file, as in `data.train`."""
    format: Literal["auto", "image-folder", "csv", "parquet"] = "auto"
    """As in `data.train`."""
    path_column: str = "path"
    """As in `data.train`."""
    label_column: str = "label"
    """As in `data.train`."""
    fraction: Fraction | None = None
    """Share of the training data, drawn class by class with the job's seed."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.uri is None) == (self.fraction is None):
            received = "neither" if self.uri is None else "both"
            raise ValueError(f"received {received}, expected exactly one of uri, fraction")
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


class Augment(SpecModel):
    """One random change to training pictures. Exactly one key an entry; applied in the order of the list."""

    flip: Literal["horizontal", "vertical", "horizontal_and_vertical"] | None = None
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
        if len(self.model_fields_set) != 1 or all(getattr(self, key) is None for key in self.model_fields_set):
            allowed = ", ".join(type(self).model_fields)
            received = ", ".join(sorted(self.model_fields_set)) or "nothing"
            raise ValueError(f"received {received}, expected exactly one of {allowed}")
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

    last_layers: PositiveInt | None = None
    """The last N layers, in the backbone's own order."""
    from_layer: str | None = None
    """This layer and all that come after it. A block prefix (`block6a`) stands for its first layer."""
    fraction: Fraction | None = None
    """The last share of the layers."""

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        given = [key for key in type(self).model_fields if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"received {', '.join(given) or 'nothing'}, expected exactly one of lastLayers, fromLayer, fraction"
            )
        return self


class Phase(SpecModel):
    """A stretch of training with one freeze setting and one learning rate."""

    name: Name
    """Name of the phase, unique in the job."""
    epochs: PositiveInt
    """How often to go through the training data; early stopping may end it sooner."""
    unfreeze: Literal["none", "all"] | Unfreeze = "none"
    """Which backbone layers train: `none`, `all`, or one of `{lastLayers: N}`, `{fromLayer: NAME}`,
    `{fraction: F}`. The head always trains."""
    learning_rate: Annotated[float, Field(gt=0, le=10)]
    """Learning rate at the start of the phase (after warm-up, if any)."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How the learning rate goes on: as it is, or down to zero along a half cosine over the phase."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """Epochs over which the learning rate rises linearly from zero."""


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
    mixed_precision: Literal["auto", "off", "bfloat16"] = "auto"
    """Compute in bfloat16 with float32 weights. `auto`: on a GPU that has it, off on CPU."""
    early_stopping: EarlyStopping | None = None
    """When to end a phase before its last epoch."""
    reduce_on_plateau: ReduceOnPlateau | None = None
    """When to lower the learning rate."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of splits, shuffling, augmentation, initial weights and dropout."""

    @model_validator(mode="after")
    def _whole_pieces(self) -> Self:
        if self.batch_size % self.gradient_accumulation:
            raise ValueError(
                f"received batchSize {self.batch_size} and gradientAccumulation {self.gradient_accumulation}, "
                "expected gradientAccumulation to divide batchSize"
            )
        return self


class Scaling(SpecModel):
    """On how many processes to train."""

    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    """Ray Train workers; each takes its share of every batch."""
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1
    """CPU cores of a worker: its threads and its Ray resource request."""
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0
    """GPUs of a worker."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often a run restarts its workers from the last checkpoint before it gives up."""


class Gate(SpecModel):
    """A condition on a test metric that the bundle must meet to be registered."""

    metric: Literal[
        "accuracy", "top5_accuracy", "precision_macro", "recall_macro", "f1_macro", "auc_macro", "loss"
    ]
    """Which test metric."""
    min: float | None = None
    """Lowest value that passes."""
    max: float | None = None
    """Highest value that passes."""
    not_worse_than: str | None = None
    """Alias (such as `champion`) of the registered model whose stored test metric must be reached. Passes while no
    version carries the alias."""

    @model_validator(mode="after")
    def _some_bound(self) -> Self:
        if self.min is None and self.max is None and self.not_worse_than is None:
            raise ValueError("received no bound, expected at least one of min, max, notWorseThan")
        return self


class Evaluation(SpecModel):
    """What is looked at after training."""

    gates: list[Gate] = Field(default_factory=list)
    """All must pass, or nothing is registered and the job fails with the figures."""
    baseline: Literal["none", "randomWeights"] = "none"
    """`randomWeights`: train the same phases again on the same backbone with random weights, and report what the
    pre-trained weights gained."""


class Register(SpecModel):
    """Under which name the bundle goes into the registry."""

    model: Name
    """Registered model name."""
    alias: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")] | None = (
        "champion"
    )
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
        names = [phase.name for phase in self.phases]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"received phase name {twice[0]} more than once, expected different phase names")
        if self.scaling.workers > self.training.batch_size // self.training.gradient_accumulation:
            raise ValueError(
                f"received {self.scaling.workers} workers for pieces of "
                f"{self.training.batch_size // self.training.gradient_accumulation} examples, "
                "expected at least one example a worker (batchSize / gradientAccumulation >= workers)"
            )
        return self


class FineTuneJob(SpecModel):
    """A transfer-learning job: fine-tunes a pre-trained Keras model and registers the result."""

    api_version: ApiVersion
    """Always `graftwork.dev/v1alpha1`."""
    kind: Literal["FineTuneJob"]
    """Always `FineTuneJob`."""
    metadata: ObjectMeta
    """Name and labels."""
    spec: FineTuneJobSpec
    """The job."""
