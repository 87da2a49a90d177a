"""A bundle that is ready to answer: opened, checked, loaded into an engine, golden examples replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graftwork.bundle.answers import Answers, answers_for
from graftwork.bundle.directory import Bundle, golden_scores, open_bundle
from graftwork.bundle.manifest import KERAS_MODEL_FILE, OPENVINO_MODEL_FILE
from graftwork.preprocess.text import LENGTH_STEP, TextSpec
from graftwork_serving.drift.monitor import FeatureSource
from graftwork_serving.endpoint_config import ModelConfig
from graftwork_serving.engine import Engine, EngineOptions
from graftwork_serving.explain.explainer import Explainer
from graftwork_serving.inputs import InputReader
from graftwork_serving.precision import check_golden, check_precision
from graftwork_serving.trunks import SharedParts, TrunkedEngine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from graftwork.spec.precision import Precision


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
        precision: numbers that the engine computes in.
        examples: the golden examples.
        feature_source: what drift is told from; None where the bundle has no reference.
        explainer: finds out what answers rest on; None where inputs are no pictures.
        weight_bytes: what weights that no other model shares take.
    """

    name: str
    version: str
    digest: str
    answers: Answers
    reader: InputReader
    engine: Engine
    golden_difference: float
    precision: Precision = "float32"
    alias: str | None = None
    examples: tuple[Example, ...] = ()
    explainer: Explainer | None = None
    feature_source: FeatureSource | None = None
    weight_bytes: int = 0

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

    @property
    def shares(self) -> object:
        """What runs its passes: examples of all models with the same one go into one pass."""
        return self.engine.trunk if isinstance(self.engine, TrunkedEngine) else self.engine

    def predict(
        self, examples: Sequence[NDArray[Any]], *, owners: Sequence[ServedModel], alone: bool
    ) -> Sequence[NDArray[np.float32]]:
        """Scores of some examples in one pass.

        Args:
            examples: as `decode` gives them.
            owners: which model each is for; all share what this one shares.
            alone: no other pass is under way or waiting.
        """
        batch = self.reader.stack(examples)
        if not isinstance(self.engine, TrunkedEngine):
            return list(self.engine.predict(batch, alone=alone))
        heads = [owner.engine.head for owner in owners if isinstance(owner.engine, TrunkedEngine)]
        return self.engine.trunk.predict(batch, heads, alone=alone)


def load_model(
    config: ModelConfig, options: EngineOptions, *, max_image_pixels: int, shared: SharedParts | None = None
) -> ServedModel:
    """Open a bundle, load its engine and replay its golden examples.

    Args:
        config: which.
        options: how to use the machine.
        max_image_pixels: larger pictures are refused.
        shared: what other models have loaded already.

    Raises:
        SpecError: there is no bundle, or this machine does not have what the engine or the precision needs.
        BundleError: it was changed, or answers differently than in training.
    """
    check_precision(options.precision, engine=options.engine, on_gpu=options.on_gpu)
    bundle = open_bundle(Path(config.path))
    parts = shared or SharedParts()
    reader = parts.reader(bundle.input, max_image_pixels=max_image_pixels)
    engine, weight_bytes = _engine(bundle, reader, options, parts)
    answers = answers_for(bundle.manifest.output)
    return ServedModel(
        name=config.name,
        version=config.version,
        alias=config.alias,
        digest=bundle.digest,
        answers=answers,
        reader=reader,
        engine=engine,
        golden_difference=check_golden(bundle, answers, golden_scores(bundle, engine.predict), options.precision),
        precision=options.precision,
        weight_bytes=weight_bytes,
        examples=tuple(
            Example(name=Path(golden.file).name, label=golden.label, path=bundle.path / golden.file)
            for golden in bundle.manifest.golden
        ),
        explainer=_explainer(bundle, options),
        feature_source=_feature_source(bundle),
    )


def _engine(bundle: Bundle, reader: InputReader, options: EngineOptions, shared: SharedParts) -> tuple[Engine, int]:
    """What computes the scores, and what weights that no other model shares take."""
    if options.engine == "openvino":
        return shared.engine(bundle.path / OPENVINO_MODEL_FILE, reader, options)
    from graftwork_serving.jax_engine import JaxEngine, check_engine

    check_engine(options.engine)
    file = bundle.path / KERAS_MODEL_FILE
    engine = JaxEngine(
        file,
        libraries=bundle.manifest.keras_libraries,
        lengths=_lengths(reader.spec.max_tokens) if isinstance(reader.spec, TextSpec) else (),
        padding=reader.spec.pad_id if isinstance(reader.spec, TextSpec) else 0,
        trial=reader.trial(),
        options=options,
    )
    return engine, file.stat().st_size


def _lengths(max_tokens: int) -> list[int]:
    """Few lengths between which texts are filled up: doubled up to the longest."""
    lengths = [LENGTH_STEP]
    while lengths[-1] < max_tokens:
        lengths.append(2 * lengths[-1])
    return [min(length, max_tokens) for length in lengths]


def _feature_source(bundle: Bundle) -> FeatureSource | None:
    reference = bundle.manifest.drift
    return (
        None if reference is None else FeatureSource(model_file=bundle.path / OPENVINO_MODEL_FILE, reference=reference)
    )


def _explainer(bundle: Bundle, options: EngineOptions) -> Explainer | None:
    if isinstance(bundle.input, TextSpec):
        return None
    return Explainer(bundle.path / OPENVINO_MODEL_FILE, threads=options.threads)
