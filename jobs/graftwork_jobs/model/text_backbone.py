"""From a spec's `backbone` to a Keras model that turns token ids into one vector a text.

What KerasHub's backbones take besides (padding mask, segment ids) follows from the ids and is computed in the graph,
so that everything after this handles one tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import keras
import keras_hub
from keras import ops

from graftwork.bundle.files import file_digest
from graftwork.errors import Problem, SpecError
from graftwork.near_names import did_you_mean
from graftwork.preprocess.text import DEFAULT_MAX_TOKENS, TextSpec
from graftwork.progress import Reporter
from graftwork.spec.fine_tune_job import Backbone
from graftwork_jobs.model.applications import load_weights
from graftwork_jobs.model.backbone import LoadedTextBackbone, Sources, float32_policy, seeded_initializers
from graftwork_jobs.model.error_text import first_line
from graftwork_jobs.model.presets import prepared_preset, refuse_foreign
from graftwork_jobs.model.rebuild import rebuild, weights_digest
from graftwork_jobs.model.text_tokenizers import TOKENIZER_FILE, load_tokenizer

Pooling = Literal["avg", "max", "first"]
"""How the vectors of a text's tokens become one."""

_DEFAULT_POLICY = "float32"
_CONFIG_FILE = "config.json"
_INPUTS = frozenset({"token_ids", "padding_mask", "segment_ids"})
# Low enough to lose against any activation, and a number that float32 and bfloat16 have.
_LOWEST = -1e30
# Backbones whose presets are offered by name. Others work from a folder if their inputs and tokenizer fit.
_FAMILIES = ("BertBackbone", "DistilBertBackbone", "ElectraBackbone", "RobertaBackbone")


def load_text_backbone(
    backbone: Backbone,
    *,
    pooling: Pooling,
    max_tokens: int | None,
    base_dir: Path,
    weights_dir: Path,
    reporter: Reporter,
    seed: int = 0,
) -> LoadedTextBackbone:
    """Find, download if need be, and build a text backbone. Computes in Keras' current dtype policy.

    Args:
        backbone: from the spec.
        pooling: how the vectors of a text's tokens become one.
        max_tokens: most tokens of a text; None for 128, or what the backbone can take if that is less.
        base_dir: the spec file's folder, where relative paths start.
        weights_dir: cache of downloads; may be filled in advance.
        reporter: shows downloads.
        seed: of random initial weights (`weights: none`).

    Raises:
        SpecError: unknown preset (with near names), missing or unsuitable folder, unsupported tokenizer, no network,
            or more tokens than the backbone can take.
    """
    sources = Sources(base_dir=base_dir, weights_dir=weights_dir, reporter=reporter)
    preset, source, where = _locate(backbone, sources)
    policy = keras.config.dtype_policy().name
    with float32_policy(), seeded_initializers(seed):
        tokenizer = load_tokenizer(preset, where)
        encoder, word = _encoder(backbone, preset, source, where, sources)
        spec = TextSpec(
            tokenizer=tokenizer.document, pad_id=tokenizer.pad_id, max_tokens=_length(encoder, max_tokens, source)
        )
        model = _pooled(encoder, pooling, pad_id=spec.pad_id, shown=source, where=where)
        digest = weights_digest(model)
        if policy != _DEFAULT_POLICY:
            model = rebuild(model, dtype_policy=policy)
    model.trainable = True
    return LoadedTextBackbone(
        model=model, source=source, weights=word, digest=digest, preprocessing=tokenizer.kind, text=spec
    )


def text_presets() -> Mapping[str, str]:
    """Registered presets of text backbones, each with the place it is downloaded from."""
    return {
        name: str(preset.get("kaggle_handle") or preset.get("hf_handle") or "")
        for family in _FAMILIES
        for name, preset in getattr(keras_hub.models, family).presets.items()
    }


def _locate(backbone: Backbone, sources: Sources) -> tuple[str, str, str]:
    """What to hand to KerasHub, what to call it, and the YAML path that names it."""
    if backbone.preset is None:
        where = "spec.backbone.path"
        folder = sources.file(str(backbone.path), where)
        if not (folder / _CONFIG_FILE).is_file():
            raise SpecError(
                Problem(
                    where=where,
                    received=f"{folder}, which is {'a folder without config.json' if folder.is_dir() else 'a file'}",
                    expected="a KerasHub preset or Hugging Face folder, with config.json, weights and tokenizer",
                    fix="Make one with save_to_preset() of KerasHub or save_pretrained() of transformers.",
                )
            )
        for name in (_CONFIG_FILE, TOKENIZER_FILE):
            if (folder / name).is_file():
                refuse_foreign(folder, where, name)
        return str(folder), folder.name, where
    presets = text_presets()
    name = backbone.preset
    if name not in presets:
        raise SpecError(
            Problem(
                where="spec.backbone.preset",
                received=name,
                expected=f"one of KerasHub's {len(presets)} presets of {', '.join(_FAMILIES)} (a folder is a `path`)",
                fix=did_you_mean(name, presets) or f"Some of them: {', '.join(sorted(presets)[:: len(presets) // 8])}.",
            )
        )
    folder = prepared_preset(name, sources.weights_dir)
    return str(folder) if (folder / _CONFIG_FILE).is_file() else name, name, "spec.backbone.preset"


def _encoder(backbone: Backbone, preset: str, source: str, where: str, sources: Sources) -> tuple[keras.Model, str]:
    """KerasHub's model, and a word for its weights."""
    try:
        encoder = keras_hub.models.Backbone.from_preset(preset, load_weights=backbone.weights == "imagenet")
    except Exception as error:
        raise _cannot_load(preset, where, sources.weights_dir, error) from error
    match backbone.weights:
        case "none":
            return encoder, "none"
        case "imagenet":
            return encoder, "pretrained"
        case uri:
            file = sources.file(uri, "spec.backbone.weights")
            load_weights(encoder, file, source)
            return encoder, file_digest(file)


def _cannot_load(preset: str, where: str, weights_dir: Path, error: Exception) -> SpecError:
    if Path(preset).is_dir():
        return SpecError(
            Problem(
                where=where,
                received=f"{preset} ({first_line(error)})",
                expected="a whole folder of a text backbone that KerasHub knows",
                fix="Make it again with save_to_preset() of KerasHub or save_pretrained() of transformers.",
            )
        )
    folder = prepared_preset(preset, weights_dir)
    return SpecError(
        Problem(
            where=where,
            received=f"{preset}, but {text_presets()[preset]} cannot be downloaded ({first_line(error)})",
            expected=f"the preset's folder at {folder}",
            fix="Where there is a network, run "
            f"keras_hub.models.TextClassifier.from_preset({preset!r}, num_classes=2).save_to_preset(FOLDER), "
            f"and put that folder there as {folder}.",
        )
    )


def _length(encoder: Any, wanted: int | None, source: str) -> int:
    most: int | None = getattr(encoder, "max_sequence_length", None)
    if wanted is None:
        return min(DEFAULT_MAX_TOKENS, most or DEFAULT_MAX_TOKENS)
    if most is not None and wanted > most:
        raise SpecError(
            Problem(
                where="spec.input.maxTokens",
                received=f"{wanted} tokens for {source}",
                expected=f"at most {most}, the longest text it was made for",
                fix=f"Use {most} or fewer, or a backbone for longer texts.",
            )
        )
    return wanted


def _pooled(encoder: Any, pooling: Pooling, *, pad_id: int, shown: str, where: str) -> keras.Model:
    """The encoder with one input and one vector a text, without a model nested in it."""
    names = _input_names(encoder)
    if "token_ids" not in names or not names <= _INPUTS:
        shown_names = ", ".join(sorted(names)) or "no named inputs"
        raise SpecError(
            Problem(
                where=where,
                received=f"{shown}, a {type(encoder).__name__} that takes {shown_names}",
                expected="a text encoder that takes token ids, a padding mask and segment ids",
                fix=f"Use a preset of {', '.join(_FAMILIES)}.",
            )
        )
    ids = keras.Input((None,), dtype="int32", name="token_ids")
    mask = ops.not_equal(ids, pad_id)
    given = {"token_ids": ids, "padding_mask": ops.cast(mask, "int32"), "segment_ids": ops.zeros_like(ids)}
    outputs = encoder._run_through_graph(  # noqa: SLF001 - Keras' own way through
        {name: given[name] for name in names}, operation_fn=lambda operation: operation
    )
    sequence = outputs["sequence_output"] if isinstance(outputs, dict) else outputs
    return _named(keras.Model(ids, _pool(sequence, mask, pooling), name="backbone"))


def _named(model: keras.Model) -> keras.Model:
    """Give bare operations names that are the same in every process; Keras' own carry counters of the process."""
    operations = [each for each in model.operations if not isinstance(each, keras.layers.Layer)]
    for number, operation in enumerate(operations):
        operation.name = f"step_{number}"
    return model


def _input_names(encoder: Any) -> set[str]:
    inputs = getattr(encoder, "_inputs_struct", None)
    return set(inputs) if isinstance(inputs, dict) else set()


def _pool(sequence: Any, mask: Any, pooling: Pooling) -> Any:
    match pooling:
        case "avg":
            # In float32: bfloat16 keeps 8 bits of an average.
            return keras.layers.GlobalAveragePooling1D(name="pooling", dtype="float32")(sequence, mask=mask)
        case "max":
            masked = ops.where(ops.expand_dims(mask, -1), sequence, ops.full_like(sequence, _LOWEST))
            return ops.cast(ops.max(masked, axis=1), "float32")
        case "first":
            return ops.cast(sequence[:, 0, :], "float32")
