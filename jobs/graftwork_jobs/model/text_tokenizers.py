"""From a backbone's files to the tokenizer that goes with it, as data that training and serving both run.

KerasHub's own tokenizers compute the same ids but need TensorFlow or Keras, which serving on CPU has not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_hub

from graftwork.errors import Problem, SpecError
from graftwork.preprocess.text import (
    TextError,
    WordPieceSettings,
    byte_pair_tokenizer,
    plain_tokenizer,
    token_id,
    wordpiece_tokenizer,
)
from graftwork_jobs.model.error_text import first_line

TOKENIZER_FILE = "tokenizer.json"
_HUGGING_FACE_MARK = "model"
_SUPPORTED = "WordPiece (BERT, DistilBERT, ELECTRA and their kin) or byte-level BPE (RoBERTa)"


@dataclass(frozen=True, kw_only=True)
class BackboneTokenizer:
    """A tokenizer as data.

    Attributes:
        document: JSON of the `tokenizers` library.
        pad_id: token id that stands for no token.
        kind: in words.
    """

    document: str
    pad_id: int
    kind: str


def load_tokenizer(preset: str, where: str) -> BackboneTokenizer:
    """The tokenizer of a preset or of a Hugging Face directory.

    Args:
        preset: registered name or folder.
        where: YAML path of what names it, for errors.

    Raises:
        SpecError: it has none, or one of a kind that is not supported; names the kinds that are.
    """
    try:
        document = _hugging_face_document(Path(preset) / TOKENIZER_FILE)
        return _from_hugging_face(document) if document is not None else _from_keras_hub(preset, where)
    except TextError as error:
        raise _unusable(preset, where, str(error)) from error


def _hugging_face_document(file: Path) -> str | None:
    """The file's content if it is in the `tokenizers` library's own format; KerasHub uses the same file name."""
    if not file.is_file():
        return None
    text = file.read_text(encoding="utf-8")
    return text if _HUGGING_FACE_MARK in json.loads(text) else None


def _from_hugging_face(document: str) -> BackboneTokenizer:
    plain = plain_tokenizer(document)
    for name in ("[PAD]", "<pad>"):
        if (pad_id := token_id(plain, name)) is not None:
            kind = json.loads(plain)["model"].get("type") or "tokenizers library"
            return BackboneTokenizer(document=plain, pad_id=pad_id, kind=kind)
    raise TextError("the tokenizer has no padding token [PAD] or <pad>")


def _from_keras_hub(preset: str, where: str) -> BackboneTokenizer:
    try:
        tokenizer: Any = keras_hub.tokenizers.Tokenizer.from_preset(preset)
    except Exception as error:
        raise _unusable(preset, where, f"no tokenizer that KerasHub can load ({first_line(error)})") from error
    match tokenizer:
        case keras_hub.tokenizers.WordPieceTokenizer():
            return _wordpiece(tokenizer)
        case keras_hub.tokenizers.BytePairTokenizer():
            return _byte_pair(tokenizer)
        case _:
            raise _unusable(preset, where, f"a {type(tokenizer).__name__}")


def _wordpiece(tokenizer: Any) -> BackboneTokenizer:
    settings = WordPieceSettings(
        lowercase=bool(tokenizer.lowercase),
        strip_accents=bool(tokenizer.strip_accents),
        split_on_cjk=bool(tokenizer.split_on_cjk),
        unknown=tokenizer.oov_token,
        begin=tokenizer.start_token,
        end=tokenizer.end_token,
        continuing=tokenizer.suffix_indicator,
    )
    document = wordpiece_tokenizer([str(token) for token in tokenizer.get_vocabulary()], settings)
    return BackboneTokenizer(document=document, pad_id=int(tokenizer.pad_token_id), kind="WordPiece")


def _byte_pair(tokenizer: Any) -> BackboneTokenizer:
    document = byte_pair_tokenizer(
        {str(token): int(number) for token, number in tokenizer.vocabulary.items()},
        [str(pair) for pair in tokenizer.merges],
        begin=tokenizer.start_token,
        end=tokenizer.end_token,
        prefix_space=bool(tokenizer.add_prefix_space),
    )
    return BackboneTokenizer(document=document, pad_id=int(tokenizer.pad_token_id), kind="byte-level BPE")


def _unusable(preset: str, where: str, received: str) -> SpecError:
    return SpecError(
        Problem(
            where=where,
            received=f"{preset} with {received}",
            expected=f"a text backbone with a tokenizer of kind {_SUPPORTED}",
            fix="Use another preset, such as bert_tiny_en_uncased, distil_bert_base_en_uncased or roberta_base_en.",
        )
    )
