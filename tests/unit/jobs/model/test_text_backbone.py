"""Text backbones from folders, compared with KerasHub's own way from a text to a vector."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from graftwork.errors import SpecError
from graftwork.preprocess.text import TextReader
from graftwork.progress import SilentReporter
from graftwork.spec.fine_tune_job import Backbone
from graftwork_jobs.model.backbone import LoadedTextBackbone
from graftwork_jobs.model.presets import prepared_preset
from graftwork_jobs.model.text_backbone import load_text_backbone
from tests.support.tiny_bert import VOCABULARY, save_tiny_bert

_TEXTS = ("the film was very good", "a boring plot!", "It is unaffable, not fine.")


def _load(folder: Path, **options: Any) -> LoadedTextBackbone:
    return load_text_backbone(
        Backbone(path=str(folder)),
        pooling=options.get("pooling", "avg"),
        max_tokens=options.get("max_tokens"),
        base_dir=folder.parent,
        weights_dir=folder.parent / "weights",
        reporter=SilentReporter(),
    )


def _vectors(loaded: LoadedTextBackbone) -> np.ndarray:
    reader = TextReader(loaded.text)
    return np.asarray(loaded.model(reader.stack([text.ids for text in reader.read(_TEXTS)]), training=False))


def _means(sequence: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.asarray((sequence * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset directory."""
    folder = tmp_path_factory.mktemp("presets") / "bert"
    save_tiny_bert(folder)
    return folder


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset directory of a random RoBERTa with a byte-level tokenizer."""
    folder = tmp_path_factory.mktemp("presets") / "roberta"
    letters = sorted({character for text in _TEXTS for character in text if character != " "})
    merges = ["\u0120 w", "\u0120w a", "o o", "\u0120 f", "i l"]
    tokens = [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        "<mask>",
        "\u0120",
        *letters,
        *(each.replace(" ", "") for each in merges),
    ]
    keras.utils.set_random_seed(3)
    backbone = keras_hub.models.RobertaBackbone(
        vocabulary_size=len(tokens),
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=48,
    )
    backbone.save_to_preset(folder)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    keras_hub.models.RobertaTokenizer(vocabulary=vocabulary, merges=merges).save_to_preset(folder)
    return folder


@pytest.fixture(scope="module", params=["Bert", "DistilBert", "Electra", "Roberta"])
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A family of backbones by its name in KerasHub, and a preset directory of a small one."""
    if request.param in {"Bert", "Roberta"}:
        return request.param, request.getfixturevalue(request.param.lower())
    folder = tmp_path_factory.mktemp("presets") / request.param
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "max_sequence_length": 48}
    keras.utils.set_random_seed(3)
    own = {"vocabulary_size": len(VOCABULARY)}
    if request.param == "Electra":
        own = {"vocab_size": len(VOCABULARY), "embedding_dim": 8}
    backbone = getattr(keras_hub.models, f"{request.param}Backbone")(**own, **sizes)
    backbone.save_to_preset(folder)
    tokenizer = getattr(keras_hub.models, f"{request.param}Tokenizer")
    tokenizer(vocabulary=list(VOCABULARY), lowercase=True).save_to_preset(folder)
    return request.param, folder


def test_texts_become_the_vectors_that_keras_hub_makes_of_them(family: tuple[str, Path]) -> None:
    """Tokenizer, padding, masks and pooling together, against KerasHub's packing and backbone."""
    name, folder = family
    tokenizer = keras_hub.tokenizers.Tokenizer.from_preset(str(folder))
    pack = keras_hub.layers.StartEndPacker(
        sequence_length=40,
        start_value=tokenizer.start_token_id,
        end_value=tokenizer.end_token_id,
        pad_value=tokenizer.pad_token_id,
    )
    ids = np.asarray(pack(tokenizer(list(_TEXTS))))
    mask = (ids != tokenizer.pad_token_id).astype(np.float32)
    given = {"token_ids": ids, "padding_mask": mask, "segment_ids": np.zeros_like(ids)}
    backbone = keras_hub.models.Backbone.from_preset(str(folder))
    outputs = backbone({each: given[each] for each in backbone.input}, training=False)
    sequence = np.asarray(outputs["sequence_output"] if isinstance(outputs, dict) else outputs)
    assert type(backbone).__name__ == f"{name}Backbone"
    assert len(np.unique(ids)) > 8, "the texts must not be all unknown words"
    np.testing.assert_allclose(_vectors(_load(folder)), _means(sequence, mask), atol=1e-5)
    np.testing.assert_allclose(_vectors(_load(folder, pooling="first")), sequence[:, 0], atol=1e-5)


def test_a_preset_by_name_is_taken_from_the_prepared_folder(bert: Path, tmp_path: Path) -> None:
    """Without network, a preset's name finds the folder that the error asked for."""
    named = Backbone(preset="bert_tiny_en_uncased")

    def load() -> LoadedTextBackbone:
        return load_text_backbone(
            named, pooling="avg", max_tokens=None, base_dir=tmp_path, weights_dir=tmp_path, reporter=SilentReporter()
        )

    shutil.copytree(bert, prepared_preset("bert_tiny_en_uncased", tmp_path))
    assert load().source == "bert_tiny_en_uncased"
    np.testing.assert_array_equal(_vectors(load()), _vectors(_load(bert)))


def test_an_unknown_preset_lists_near_names(tmp_path: Path) -> None:
    """A slip of the pen is put right."""
    with pytest.raises(SpecError, match="bert_tiny_en_uncased"):
        load_text_backbone(
            Backbone(preset="bert_tiny_en_uncasd"),
            pooling="avg",
            max_tokens=None,
            base_dir=tmp_path,
            weights_dir=tmp_path,
            reporter=SilentReporter(),
        )


def test_a_hugging_face_folder_gives_what_the_preset_gives(bert: Path, tmp_path: Path) -> None:
    """The same network in the files of `save_pretrained()`: config.json, model.safetensors, tokenizer.json."""
    preset = _load(bert)
    folder = tmp_path / "hugging-face"
    _save_as_hugging_face(keras_hub.models.Backbone.from_preset(str(bert)), preset.text.tokenizer, folder)
    loaded = _load(folder)
    assert loaded.text == preset.text
    np.testing.assert_allclose(_vectors(loaded), _vectors(preset), atol=1e-5)


def test_more_tokens_than_positions_are_refused(bert: Path) -> None:
    """The error says how many the backbone was made for."""
    with pytest.raises(SpecError, match=r"spec\.input\.maxTokens: received 64 tokens for bert, expected at most 48"):
        _load(bert, max_tokens=64)


def _save_as_hugging_face(backbone: Any, tokenizer: str, folder: Path) -> None:
    """Write BERT's weights under their names in `transformers`, where a kernel is (out, in)."""
    size = backbone.hidden_dim

    def matrix(kernel: Any, inputs: int) -> np.ndarray:
        return np.ascontiguousarray(np.asarray(kernel).reshape(inputs, -1).T)

    def norm(name: str, layer: Any) -> dict[str, np.ndarray]:
        return {f"{name}.weight": np.asarray(layer.gamma), f"{name}.bias": np.asarray(layer.beta)}

    def dense(name: str, layer: Any, inputs: int) -> dict[str, np.ndarray]:
        return {f"{name}.weight": matrix(layer.kernel, inputs), f"{name}.bias": np.asarray(layer.bias).reshape(-1)}

    get = backbone.get_layer
    tensors = {
        "embeddings.word_embeddings.weight": np.asarray(get("token_embedding").embeddings),
        "embeddings.position_embeddings.weight": np.asarray(get("position_embedding").position_embeddings),
        "embeddings.token_type_embeddings.weight": np.asarray(get("segment_embedding").embeddings),
        **norm("embeddings.LayerNorm", get("embeddings_layer_norm")),
        **dense("pooler.dense", get("pooled_dense"), size),
    }
    for number in range(backbone.num_layers):
        block, name = get(f"transformer_layer_{number}"), f"encoder.layer.{number}"
        attention = block._self_attention_layer
        tensors |= {
            **dense(f"{name}.attention.self.query", attention.query_dense, size),
            **dense(f"{name}.attention.self.key", attention.key_dense, size),
            **dense(f"{name}.attention.self.value", attention.value_dense, size),
            **dense(f"{name}.attention.output.dense", attention.output_dense, size),
            **norm(f"{name}.attention.output.LayerNorm", block._self_attention_layer_norm),
            **dense(f"{name}.intermediate.dense", block._feedforward_intermediate_dense, size),
            **dense(f"{name}.output.dense", block._feedforward_output_dense, backbone.intermediate_dim),
            **norm(f"{name}.output.LayerNorm", block._feedforward_layer_norm),
        }
    folder.mkdir()
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, folder / "model.safetensors")
    config = {
        "model_type": "bert",
        "vocab_size": len(VOCABULARY),
        "num_hidden_layers": backbone.num_layers,
        "num_attention_heads": backbone.num_heads,
        "hidden_size": size,
        "intermediate_size": backbone.intermediate_dim,
        "max_position_embeddings": backbone.max_sequence_length,
    }
    (folder / "config.json").write_text(json.dumps(config))
    Tokenizer.from_str(tokenizer).save(str(folder / "tokenizer.json"))
