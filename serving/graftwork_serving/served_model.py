"""A bundle that is ready to answer: opened, checked, loaded into an engine, golden examples replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graftwork.bundle.directory import Bundle, open_bundle, replay_golden
from graftwork.bundle.manifest import OPENVINO_MODEL_FILE
from graftwork.preprocess.text import TextSpec
from graftwork_serving.answers import Answers, answers_for
from graftwork_serving.endpoint_config import ModelConfig
from graftwork_serving.engine import Engine, EngineOptions, OpenVinoEngine
from graftwork_serving.explain.explainer import Explainer
from graftwork_serving.inputs import InputReader, input_reader

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Example:
    """An input to try a model with.

    Attributes:
        name: of the file.
        label: what is right, in words.
        path: where it is.
    """

    name: str
    label: str
    path: Path


@dataclass(frozen=True, eq=False, kw_only=True)
class ServedModel:
    """One bundle behind an endpoint.

    Attributes:
        name: in request URLs.
        version: in answers.
        alias: label of this version in requests.
        digest: names the bundle's content.
        answers: puts what the model gives into words.
        reader: turns raw inputs into what the engine takes.
        engine: what computes scores.
        golden_difference: largest difference of a golden example's score.
        examples: the golden examples.
        explainer: finds out what answers rest on; None where inputs are no pictures.
    """

    name: str
    version: str
    digest: str
    answers: Answers
    reader: InputReader
    engine: Engine
    golden_difference: float
    alias: str | None = None
    examples: tuple[Example, ...] = ()
    explainer: Explainer | None = None

    @property
    def batch_size(self) -> int:
        """Most examples in one pass."""
        return self.engine.batch_size

    @property
    def takes_text(self) -> bool:
        """Whether inputs are texts rather than pictures."""
        return isinstance(self.reader.spec, TextSpec)

    def decode(self, data: bytes) -> NDArray[Any]:
        """A raw input as the model takes it."""
        return self.reader.decode(data)

    def predict(self, examples: Sequence[NDArray[Any]], *, alone: bool) -> NDArray[np.float32]:
        """Scores of some examples in one pass."""
        return self.engine.predict(self.reader.stack(examples), alone=alone)


def load_model(config: ModelConfig, options: EngineOptions, *, max_image_pixels: int) -> ServedModel:
    """Open a bundle, load its engine and replay its golden examples.

    Raises:
        SpecError: there is no bundle.
        BundleError: it was changed, or answers differently than in training.
    """
    bundle = open_bundle(Path(config.path))
    reader = input_reader(bundle.input, max_image_pixels=max_image_pixels)
    engine = OpenVinoEngine(
        bundle.path / OPENVINO_MODEL_FILE, row_shape=reader.row_shape, trial=reader.trial(), options=options
    )
    return ServedModel(
        name=config.name,
        version=config.version,
        alias=config.alias,
        digest=bundle.digest,
        answers=answers_for(bundle.manifest.output),
        reader=reader,
        engine=engine,
        golden_difference=replay_golden(bundle, engine.predict),
        examples=tuple(
            Example(name=Path(golden.file).name, label=golden.label, path=bundle.path / golden.file)
            for golden in bundle.manifest.golden
        ),
        explainer=_explainer(bundle, options),
    )


def _explainer(bundle: Bundle, options: EngineOptions) -> Explainer | None:
    if isinstance(bundle.input, TextSpec):
        return None
    return Explainer(bundle.path / OPENVINO_MODEL_FILE, threads=options.threads)
