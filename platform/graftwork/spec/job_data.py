"""The data sections of a FineTuneJob: inputs, splits, augmentation. No I/O here."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.alias_generators import to_snake

from graftwork.data_files.kinds import LABEL_SEPARATOR
from graftwork.spec.base import Fraction, Inconsistency, Name, SpecModel, Text, Uri, exactly_one, refuse_if_any
from graftwork.spec.tasks import INPUT_COLUMNS

PixelSize = Annotated[int, Field(ge=16, le=2048)]


class Input(SpecModel):
    """What an example looks like when it reaches the model: pictures have a size, texts a length."""

    image_size: Annotated[list[PixelSize], Field(min_length=2, max_length=2)] | None = None
    """Pictures: height and width in pixels. Default: the size the backbone was trained with."""
    resize: Literal["stretch", "crop", "pad"] = "stretch"
    """Pictures: `stretch` ignores the aspect ratio, `crop` cuts the longer side, `pad` adds black borders."""
    max_tokens: Annotated[int, Field(ge=8, le=8192)] | None = None
    """Texts: longer ones are cut off after so many tokens, begin and end marks counted. Default: 128. The plan says how
    many texts that cuts."""


Format = Literal["auto", "image-folder", "csv", "jsonl", "parquet"]
"""How labelled examples are stored."""


class RowChoice(SpecModel):
    """Rows of a table by what stands in one of its columns, such as the part of a data set that they belong to."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"column": "split", "values": ["train"]}]})

    column: Text
    """A column of the table."""
    values: Annotated[list[Text], Field(min_length=1)]
    """A row counts if its cell is one of these."""


class DataSource(SpecModel):
    """Labelled examples: a table with a column for inputs and one for labels, or picture folders, one a class."""

    uri: Uri
    """Table or folder: a path (relative to the spec file) or any URI fsspec can read."""
    format: Format = "auto"
    """`auto` looks at the name: `.csv`, `.jsonl`, `.parquet`, otherwise a folder of pictures."""
    path_column: Text = INPUT_COLUMNS["image"]
    """Pictures: table column with the picture's path or URI, relative to the table."""
    text_column: Text = INPUT_COLUMNS["text"]
    """Texts: table column with the text."""
    label_column: Text = "label"
    """Table column with the class name."""
    rows: RowChoice | None = None
    """Takes some rows of a table only, where one table holds training, validation and test data. Default: all."""


class SplitSource(SpecModel):
    """A data set of its own (`uri`) or a share split off the training data (`fraction`). Exactly one of the two."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"fraction": 0.15}]})

    uri: Uri | None = None
    """Table or folder, as in `data.train`."""
    format: Format = "auto"
    """As in `data.train`."""
    path_column: Text = INPUT_COLUMNS["image"]
    """As in `data.train`."""
    text_column: Text = INPUT_COLUMNS["text"]
    """As in `data.train`."""
    label_column: Text = "label"
    """As in `data.train`."""
    rows: RowChoice | None = None
    """As in `data.train`."""
    fraction: Fraction | None = None
    """Share of the training data, drawn class by class with the job's seed."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        refuse_if_any(exactly_one(self, "uri", "fraction"), *self._useless_with_fraction())
        return self

    def _useless_with_fraction(self) -> list[Inconsistency]:
        if self.uri is not None or self.fraction is None:
            return []
        given: dict[str, object] = {
            "rows": self.rows,
            "format": self.format,
            "pathColumn": self.path_column,
            "textColumn": self.text_column,
            "labelColumn": self.label_column,
        }
        return [
            Inconsistency(
                at=(key,),
                received=f"{f'`{value}`' if isinstance(value, str) else 'rows'} beside `fraction`",
                expected="nothing: the examples come from `data.train`",
                fix="Remove it, or name examples of their own with `uri`.",
                involves=(("fraction",), ("uri",)),
            )
            for key, value in given.items()
            if value != SplitSource.model_fields[to_snake(key)].default
        ]


class NamedDataSource(DataSource):
    """A further test set with a name of its own."""

    name: Name
    """Name under which its metrics are reported."""


class Data(SpecModel):
    """Where the examples come from and how they are split."""

    train: DataSource
    """Examples to learn from."""
    validation: SplitSource = SplitSource(fraction=0.15)
    """Examples that steer the training: early stopping, learning-rate reduction, the choice of the best epoch."""
    test: SplitSource = SplitSource(fraction=0.15)
    """Examples seen only once, at the end; gates look at their metrics."""
    extra_tests: list[NamedDataSource] = Field(default_factory=list)
    """Further test sets, such as pictures from another camera: reported, not gated."""
    target_columns: Annotated[list[Text], Field(min_length=1)] | None = None
    """Table columns with what to predict, in all data sets alike: the numbers of a regression, or one column a label
    (1 or 0, true or false) of a multi-label task. Regression needs them."""
    label_separator: Annotated[str, Field(min_length=1, max_length=8)] = LABEL_SEPARATOR
    """Multi-label tasks without `targetColumns`: what stands between the labels in a cell of `labelColumn`."""
    label_order: Annotated[list[Text], Field(min_length=3)] | None = None
    """Ordinal tasks: all labels, from the lowest to the highest. With two, use a classification."""
    weight_column: Text | None = None
    """Column of the training table with how much each example counts in training, above 0; scaled to 1 on average.
    Validation and test count each example once."""
    on_bad_image: Literal["fail", "skip"] = "fail"
    """What to do when a picture cannot be read: refuse the job and name each, or leave them out and say how many."""
    on_incomplete_row: Literal["fail", "skip"] = "fail"
    """What to do when a row of a table lacks its picture or text, or what is to be predicted: refuse the job and name
    the rows, or leave them out and say how many."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse_if_any(self._something_left_to_train_on(), *self._names_twice(), *self._columns_twice())
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

    def _columns_twice(self) -> list[Inconsistency]:
        return [
            Inconsistency(
                at=(key, position),
                received=f"`{name}`, which stands there already",
                expected=f"each {noun} once",
                fix="Remove it.",
            )
            for key, noun, names in (
                ("targetColumns", "column", self.target_columns or []),
                ("labelOrder", "label", self.label_order or []),
            )
            for position, name in enumerate(names)
            if name in names[:position]
        ]

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
    mixup: Annotated[float, Field(gt=0, le=10)] | None = None
    """Blend each picture with another one, and the targets with it. This is both parameters of the beta distribution
    that the share is drawn from: 0.2 for mostly small shares, 1 for any. After the other changes."""
    cutmix: Annotated[float, Field(gt=0, le=10)] | None = None
    """Paste a rectangle of another picture into each, and average the targets by area. This is both parameters of the
    beta distribution that the area is drawn from; 1 is usual. With `mixup` too, each picture gets one of the two."""

    @property
    def mixes(self) -> bool:
        """Whether it makes one picture of two."""
        return self.mixup is not None or self.cutmix is not None

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        keys = ("flip", "rotate", "zoom", "translate", "contrast", "brightness", "mixup", "cutmix")
        refuse_if_any(exactly_one(self, *keys))
        return self
