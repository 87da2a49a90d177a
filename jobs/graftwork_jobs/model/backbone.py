"""From a spec's `backbone` to a Keras model that turns RGB pictures into a feature map; what a loaded backbone is."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras

from graftwork.bundle.files import file_digest
from graftwork.preprocess.text import TextSpec
from graftwork.progress import Reporter
from graftwork.spec.fine_tune_job import Backbone
from graftwork_jobs.model.applications import build_application, check_image_size, find_architecture, load_weights
from graftwork_jobs.model.catalog import Preprocessing
from graftwork_jobs.model.cut import cut_at
from graftwork_jobs.model.rebuild import inline, rebuild, weights_digest
from graftwork_jobs.model.saved_model import fit_to_size, load_saved_model
from graftwork_jobs.model.scaling import Scaling, named_scaling, scale
from graftwork_jobs.model.weights import file_at, imagenet_weights

_DEFAULT_POLICY = "float32"


@dataclass(frozen=True, kw_only=True)
class LoadedBackbone:
    """A pre-trained network without its classifier.

    Attributes:
        model: RGB 0..255, float32, shape (batch, height, width, 3), to a feature map (batch, h, w, channels). Flat:
            no models nested in it; scaling comes first, as stock layers.
        source: `keras.applications` name, KerasHub preset or file name.
        weights: `imagenet`, `none`, or the SHA-256 of the file they came from.
        digest: SHA-256 over the initial weights.
        preprocessing: the scaling put in front.
        image_size: height and width in pixels.
    """

    model: keras.Model
    source: str
    weights: str
    digest: str
    preprocessing: str
    image_size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class LoadedTextBackbone:
    """A pre-trained text encoder with pooling on top.

    Attributes:
        model: token ids, int32, shape (batch, tokens), to vectors, float32, shape (batch, size). Flat.
        source: KerasHub preset or folder name.
        weights: `pretrained`, `none`, or the SHA-256 of the file they came from.
        digest: SHA-256 over the initial weights.
        preprocessing: the tokenizer in words.
        text: what texts are brought to.
    """

    model: keras.Model
    source: str
    weights: str
    digest: str
    preprocessing: str
    text: TextSpec


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where backbones come from.

    Attributes:
        base_dir: the spec file's folder, where relative paths start.
        weights_dir: cache of downloads; may be filled in advance.
        reporter: shows downloads.
    """

    base_dir: Path
    weights_dir: Path
    reporter: Reporter

    def file(self, uri: str, where: str) -> Path:
        """A local file or folder for a path or URI in the spec."""
        return file_at(uri, base_dir=self.base_dir, cache_dir=self.weights_dir, where=where)


@dataclass(frozen=True, kw_only=True)
class _Raw:
    """A flat network from scaled pictures to a feature map, not yet with scaling in front."""

    model: keras.Model
    source: str
    weights: str
    scaling: Scaling


def load_backbone(
    backbone: Backbone,
    *,
    image_size: tuple[int, int] | None,
    base_dir: Path,
    weights_dir: Path,
    reporter: Reporter,
    seed: int = 0,
) -> LoadedBackbone:
    """Find, download if need be, and build a backbone. Computes in Keras' current dtype policy.

    Args:
        backbone: from the spec.
        image_size: height and width in pixels; None takes the size the backbone was trained at.
        base_dir: the spec file's folder, where relative paths start.
        weights_dir: cache of downloads; may be filled in advance.
        reporter: shows downloads.
        seed: of random initial weights (`weights: none`).

    Raises:
        SpecError: unknown name (with near ones), missing or unsuitable file, no network, size too small.
    """
    sources = Sources(base_dir=base_dir, weights_dir=weights_dir, reporter=reporter)
    policy = keras.config.dtype_policy().name
    with float32_policy(), seeded_initializers(seed):
        raw = _load(backbone, image_size, sources)
        model = _with_scaling(raw)
        if policy != _DEFAULT_POLICY:
            model = rebuild(model, dtype_policy=policy)
    model.trainable = True
    _, height, width, _ = model.inputs[0].shape
    return LoadedBackbone(
        model=model,
        source=raw.source,
        weights=raw.weights,
        digest=weights_digest(raw.model),
        preprocessing=raw.scaling.name,
        image_size=(height, width),
    )


def _load(backbone: Backbone, image_size: tuple[int, int] | None, sources: Sources) -> _Raw:
    if backbone.name is not None:
        return _from_name(backbone, backbone.name, image_size, sources)
    if backbone.preset is not None:
        from graftwork_jobs.model.presets import find_preset

        found = find_preset(backbone.preset, sources.weights_dir)
        return _from_preset(backbone, found, backbone.preset, image_size, sources)
    path = sources.file(str(backbone.path), "spec.backbone.path")
    if path.is_dir():
        return _from_preset(backbone, str(path), path.name, image_size, sources)
    return _from_file(backbone, path, image_size, sources)


def _from_name(backbone: Backbone, name: str, image_size: tuple[int, int] | None, sources: Sources) -> _Raw:
    architecture = find_architecture(name)
    size = image_size or (architecture.image_size, architecture.image_size)
    check_image_size(architecture, size)
    match backbone.weights:
        case "none":
            file, word = None, "none"
        case "imagenet":
            file = imagenet_weights(architecture, size, weights_dir=sources.weights_dir, reporter=sources.reporter)
            word = "imagenet"
        case uri:
            file = sources.file(uri, "spec.backbone.weights")
            word = file_digest(file)
    preprocessing = architecture.preprocessing if backbone.preprocessing == "auto" else backbone.preprocessing
    model = inline(build_application(architecture, image_size=size, weights=file, preprocessing=preprocessing))
    if backbone.output_layer is not None:
        model = cut_at(model, backbone.output_layer)
    return _Raw(model=model, source=name, weights=word, scaling=named_scaling(preprocessing))


def _from_file(backbone: Backbone, path: Path, image_size: tuple[int, int] | None, sources: Sources) -> _Raw:
    model = load_saved_model(path)
    match backbone.weights:
        case "none":
            word = "none"
        case "imagenet":
            word = file_digest(path)
        case uri:
            file = sources.file(uri, "spec.backbone.weights")
            load_weights(model, file, path.name)
            word = file_digest(file)
    cut = cut_at(model, backbone.output_layer)
    fitted = fit_to_size(cut, image_size, shown=path.name, random_weights=backbone.weights == "none")
    preprocessing: Preprocessing = "none" if backbone.preprocessing == "auto" else backbone.preprocessing
    return _Raw(model=fitted, source=path.name, weights=word, scaling=named_scaling(preprocessing))


def _from_preset(
    backbone: Backbone, preset: str, source: str, image_size: tuple[int, int] | None, sources: Sources
) -> _Raw:
    from graftwork_jobs.model.presets import load_preset

    where = "spec.backbone.preset" if backbone.preset is not None else "spec.backbone.path"
    loaded = load_preset(
        preset, weights_dir=sources.weights_dir, where=where, wants_scaling=backbone.preprocessing == "auto"
    )
    model, word = loaded.model, "imagenet"
    match backbone.weights:
        case "none":
            word = "none"
        case "imagenet":
            pass
        case uri:
            file = sources.file(uri, "spec.backbone.weights")
            load_weights(model, file, source)
            word = file_digest(file)
    cut = cut_at(model, backbone.output_layer)
    fitted = fit_to_size(cut, image_size or loaded.image_size, shown=source, random_weights=backbone.weights == "none")
    scaling = loaded.scaling if backbone.preprocessing == "auto" else named_scaling(backbone.preprocessing)
    return _Raw(model=fitted, source=source, weights=word, scaling=scaling)


def _with_scaling(raw: _Raw) -> keras.Model:
    image = keras.Input(shape=raw.model.inputs[0].shape[1:], dtype="float32", name="image")
    return inline(keras.Model(image, raw.model(scale(image, raw.scaling)), name="backbone"))


@contextmanager
def float32_policy() -> Iterator[None]:
    """Keras' default dtype policy, whatever the current one."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(_DEFAULT_POLICY)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextmanager
def seeded_initializers(seed: int) -> Iterator[None]:
    """Keras' unseeded initializers draw their seed from Python's generator: the same weights in every process."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
