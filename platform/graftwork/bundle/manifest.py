"""The bundle's table of contents: `manifest.json`. Shapes of data only; reading and writing are in `directory.py`."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from graftwork.bundle.drift import DriftReference
from graftwork.spec.tasks import Task

FORMAT_VERSION: Literal[1] = 1
MANIFEST_FILE = "manifest.json"
KERAS_MODEL_FILE = "model.keras"
OPENVINO_MODEL_FILE = "openvino/model.xml"
TOKENIZER_FILE = "tokenizer.json"
REPORT_DIR = "report"
REPORT_FILE = "report/report.html"
GOLDEN_DIR = "golden"
TRAINED_ON_FILE = "trained_on.npy"
_TWO = 2


def _inside_bundle(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path != str(PurePosixPath(path)) or path.startswith("/") or ".." in parts or "\\" in path:
        raise ValueError(f"received {path!r}, expected a plain path below the bundle directory")
    return path


BundlePath = Annotated[str, AfterValidator(_inside_bundle)]
"""A file's path below the bundle directory, with forward slashes; never leads out of it."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in hexadecimal."""


class _Record(BaseModel):
    """Stored data: immutable, and tolerant of keys a newer version may have added."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class ImageSignature(_Record):
    """What the model takes: RGB pixels 0..255, shape (batch, height, width, 3)."""

    kind: Literal["image"] = "image"
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    resize: Literal["stretch", "crop", "pad"]
    """How a picture of another size is brought to this one."""


class TextSignature(_Record):
    """What the model takes: token ids, shape (batch, tokens), int32, any number of tokens up to `max_tokens`."""

    kind: Literal["text"] = "text"
    tokenizer: BundlePath
    """How text becomes token ids: a file of the `tokenizers` library."""
    pad_id: int
    """Token id that fills up the shorter texts of a batch."""
    max_tokens: int
    """Longer texts are cut off."""


InputSignature = Annotated[ImageSignature | TextSignature, Field(discriminator="kind")]
"""What a model takes."""


class BinaryThreshold(_Record):
    """How the label of an answer is chosen between two: by one of the scores, in place of the higher one."""

    positive: str
    """The label whose score is compared."""
    at: Annotated[float, Field(ge=0, le=1)]
    """From which score on it is the answer; chosen on the validation data."""


class Calibration(_Record):
    """How scores were made to say how often they are right. The network in the bundle does it by itself."""

    method: Literal["temperature"] = "temperature"
    """Outputs are divided by a number before they become scores."""
    temperatures: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]
    """What they are divided by: one number, or one a label."""
    examples: int
    """How many validation examples it was fitted on."""


class ScoresSignature(_Record):
    """What the model gives: one probability a label, shape (batch, len(labels)), float32; each row sums to 1."""

    kind: Literal["scores"] = "scores"
    labels: Annotated[list[str], Field(min_length=2)]
    """Class names in the order of the scores."""
    threshold: BinaryThreshold | None = None
    """Chooses between two labels; None for the label with the highest score."""

    @model_validator(mode="after")
    def _threshold_of_two(self) -> Self:
        if self.threshold is not None and (len(self.labels) != _TWO or self.threshold.positive not in self.labels):
            raise ValueError(f"a threshold for {self.threshold.positive} needs two labels, that one among them")
        return self

    @property
    def scales(self) -> list[float]:
        """What a difference of each number is measured in."""
        return [1.0] * len(self.labels)


class NumbersSignature(_Record):
    """What the model gives: numbers in the user's units, shape (batch, len(labels)), float32."""

    kind: Literal["numbers"] = "numbers"
    labels: Annotated[list[str], Field(min_length=1)]
    """What the numbers are called, in their order."""
    deviations: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)]
    """Standard deviation of each in the training data; golden examples are compared in these."""

    @property
    def scales(self) -> list[float]:
        """What a difference of each number is measured in."""
        return self.deviations


class LabelsSignature(_Record):
    """What the model gives: a probability for each label by itself, shape (batch, len(labels)), float32."""

    kind: Literal["labels"] = "labels"
    labels: Annotated[list[str], Field(min_length=1)]
    """Label names in the order of the probabilities."""
    thresholds: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1)]
    """From which probability on each label is given; chosen on the validation data."""

    @property
    def scales(self) -> list[float]:
        """What a difference of each number is measured in."""
        return [1.0] * len(self.labels)


OutputSignature = Annotated[ScoresSignature | NumbersSignature | LabelsSignature, Field(discriminator="kind")]
"""What a model gives."""


class BackboneRecord(_Record):
    """Which pre-trained model the bundle grew on."""

    source: str
    """`keras.applications` name, KerasHub preset or file name."""
    weights: str
    """`imagenet`, `none` or the digest of the weights file."""
    digest: str
    """SHA-256 of the backbone's initial weights."""


class GoldenExample(_Record):
    """One raw input as a client sends it, with the answer the trained Keras model gave."""

    file: BundlePath
    """Path below the bundle directory."""
    label: str
    """What is right, in words, such as the true class."""
    scores: list[float]
    """What the Keras model gave, in the order of the labels."""


class SearchLineage(_Record):
    """Which trial of a search the bundle's spec is."""

    trial: int
    """Its number; 0 is the spec as it stood."""
    values: dict[str, Any]
    """What it changed, by path below `spec`."""
    metric: str
    """What was compared, on validation data."""
    score: float
    """What the trial reached."""
    trials: int
    """How many trials there were."""


class Lineage(_Record):
    """Where the bundle came from."""

    job: str
    """Name of the FineTuneJob."""
    run_id: str
    """Run that made it."""
    spec: dict[str, Any]
    """The job spec as it was run; after a search, that of the best trial."""
    data_digest: str
    """SHA-256 over the content of all pictures, labels and splits."""
    libraries: dict[str, str]
    """Versions of Python and of the libraries that decide the result."""
    search: SearchLineage | None = None
    """The search that found the spec; None without one."""


class BundleManifest(_Record):
    """`manifest.json`."""

    format_version: Literal[1] = FORMAT_VERSION
    """Version of the bundle format."""
    created_at: str
    """UTC time, ISO 8601."""
    task: Task
    """What the model does."""
    input: InputSignature
    """What the model takes."""
    output: OutputSignature
    """What the model gives."""
    keras_libraries: list[str] = Field(default_factory=lambda: ["keras"])
    """Python packages to import before `model.keras` can be loaded in safe mode."""
    backbone: BackboneRecord
    """Which pre-trained model it grew on."""
    golden: Annotated[list[GoldenExample], Field(min_length=1)]
    """Examples every engine must reproduce before it serves."""
    tolerance: Annotated[float, Field(gt=0)] = 1e-3
    """Largest absolute difference that counts as the same: of a score, or of a number in standard deviations."""
    metrics: dict[str, float]
    """Test metrics."""
    extra_metrics: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Metrics of the further test sets, by their names."""
    intervals: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """95 % confidence interval of each test metric."""
    calibration: Calibration | None = None
    """How scores were calibrated; None where they were left as they are."""
    lineage: Lineage
    """Where it came from."""
    drift: DriftReference | None = None
    """What the features of its test examples are like; None for models without a feature map, or too few examples."""
    files: dict[BundlePath, Sha256] = Field(default_factory=dict)
    """SHA-256 of every other file in the bundle, by path."""
    manifest_digest: Sha256 = "0" * 64
    """SHA-256 of this file, taken with these 64 characters as zeros: names the content of the whole bundle."""

    @model_validator(mode="after")
    def _golden_fits_labels(self) -> Self:
        count = len(self.output.labels)
        for example in self.golden:
            if len(example.scores) != count:
                raise ValueError(f"golden example {example.file} has {len(example.scores)} scores for {count} labels")
        return self
