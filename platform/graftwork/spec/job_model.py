"""The model sections of a FineTuneJob: backbone and head. No I/O here."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from graftwork.spec.base import PositiveInt, SpecModel, Text, Uri, exactly_one, refuse_if_any


class Backbone(SpecModel):
    """The pre-trained model. Exactly one of `name`, `preset` and `path`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "EfficientNetB0"}]})

    name: Text | None = None
    """A `keras.applications` architecture, such as `EfficientNetB0`, `ResNet50` or `VGG16`."""
    preset: Text | None = None
    """A KerasHub preset, such as `resnet_50_imagenet` for pictures or `bert_tiny_en_uncased` for texts."""
    path: Uri | None = None
    """A KerasHub preset directory, for pictures also a `.keras` file, for texts also the directory of a Hugging Face
    checkpoint (BERT and its family): a path or a URI."""
    weights: Text = "imagenet"
    """`imagenet` (the pre-trained weights that belong to the backbone), `none` (random) or the path or URI of a
    `.weights.h5` file. A `path` backbone brings its own weights: `imagenet` then means those."""
    output_layer: Text | None = None
    """Pictures: layer whose output the head grows on: a feature map, tokens (of a transformer) or a vector (as of a
    dense layer). Default: the last feature map before global pooling. What comes after it is left out."""
    preprocessing: Literal["auto", "none", "zero-to-one", "minus-one-to-one", "imagenet", "caffe"] = "auto"
    """Pictures: how RGB 0..255 is scaled for the backbone. `auto`: what it was trained with; for a `.keras`
    file that is `none`, because such a file holds its own scaling or takes 0..255."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        refuse_if_any(exactly_one(self, "name", "preset", "path"))
        return self


class Head(SpecModel):
    """The new layers for the target task; the last one, with one output a class, follows from the data."""

    pooling: Literal["avg", "max", "first"] = "avg"
    """How a feature map, or the tokens of a text, become a vector. `first`: the first token, for texts only."""
    hidden: list[PositiveInt] = Field(default_factory=list)
    """Units of fully connected layers before the last one."""
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    """Activation of the hidden layers."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of units dropped in training, before each layer of the head."""
