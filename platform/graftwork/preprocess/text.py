"""From a text to the token ids a model takes; training and serving both call this, so they cannot differ.

The tokenizer is data: a JSON document in the format of the `tokenizers` library, made once from a backbone's files and
carried in the bundle. No Keras and no TensorFlow here.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from graftwork.errors import GraftworkError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

DEFAULT_MAX_TOKENS = 128
# Batches come in lengths that are multiples of this: few shapes, little padding.
LENGTH_STEP = 16
# The reference implementation of BERT gives up on longer words.
# Source: https://github.com/google-research/bert/blob/master/tokenization.py, class WordpieceTokenizer.
_LONGEST_WORD = 100


class TextError(GraftworkError):
    """A text that cannot be used. The text says what was wrong, not where."""


@dataclass(frozen=True, kw_only=True)
class TextSpec:
    """What every text is brought to.

    Attributes:
        tokenizer: how text becomes token ids, begin and end marks included; JSON of the `tokenizers` library.
        pad_id: token id that fills up a batch; stands for no token.
        max_tokens: longer texts are cut off, begin and end marks counted.
    """

    tokenizer: str
    pad_id: int
    max_tokens: int

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides token ids."""
        return hashlib.sha256(f"{self.pad_id} {self.max_tokens}\n{self.tokenizer}".encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenizedText:
    """One text as token ids.

    Attributes:
        ids: shape (tokens,), int32.
        is_truncated: whether the text was longer than `max_tokens`.
    """

    ids: NDArray[np.int32]
    is_truncated: bool


@dataclass(frozen=True, kw_only=True)
class WordPieceSettings:
    """How a WordPiece tokenizer of the BERT family splits text.

    Attributes:
        lowercase: whether letters are lower-cased.
        strip_accents: whether accents are taken off letters.
        split_on_cjk: whether each Chinese character is a word of its own.
        unknown: token for words that no pieces make up.
        begin: token put in front.
        end: token put behind.
        continuing: what pieces within a word begin with.
    """

    lowercase: bool
    strip_accents: bool
    split_on_cjk: bool = True
    unknown: str = "[UNK]"
    begin: str = "[CLS]"
    end: str = "[SEP]"
    continuing: str = "##"


def wordpiece_tokenizer(vocabulary: Sequence[str], settings: WordPieceSettings) -> str:
    """The JSON of a WordPiece tokenizer that does what the reference implementation of BERT does.

    Text that looks like a special token, such as `[SEP]`, is text: whoever sends it must not steer the model.

    Args:
        vocabulary: tokens in the order of their ids.
        settings: how text is split.

    Raises:
        TextError: the vocabulary lacks a special token.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    ids = {token: number for number, token in enumerate(vocabulary)}
    if missing := [token for token in (settings.unknown, settings.begin, settings.end) if token not in ids]:
        raise TextError(f"the vocabulary of {len(ids):,} tokens lacks {', '.join(missing)}")
    model = models.WordPiece(
        ids,
        unk_token=settings.unknown,
        continuing_subword_prefix=settings.continuing,
        max_input_chars_per_word=_LONGEST_WORD,
    )
    tokenizer: Any = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=settings.split_on_cjk,
        strip_accents=settings.strip_accents,
        lowercase=settings.lowercase,
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{settings.begin} $0 {settings.end}",
        special_tokens=[(token, ids[token]) for token in (settings.begin, settings.end)],
    )
    return str(tokenizer.to_str())


def byte_pair_tokenizer(
    vocabulary: Mapping[str, int], merges: Sequence[str], *, begin: str, end: str, prefix_space: bool
) -> str:
    """The JSON of a byte-level BPE tokenizer as GPT-2 and RoBERTa have it.

    Args:
        vocabulary: ids of the tokens, in which bytes stand as printable characters.
        merges: pairs of tokens to join, the first ones first, each with a space between.
        begin: token put in front.
        end: token put behind.
        prefix_space: whether the first word is treated like those within a text.

    Raises:
        TextError: the vocabulary lacks a special token, or merges name tokens it does not have.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    if missing := [token for token in (begin, end) if token not in vocabulary]:
        raise TextError(f"the vocabulary of {len(vocabulary):,} tokens lacks {', '.join(missing)}")
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    try:
        tokenizer: Any = Tokenizer(models.BPE(dict(vocabulary), pairs))
    except Exception as error:
        raise TextError(f"the merges do not fit the vocabulary ({error})") from error
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $0 {end}", special_tokens=[(token, vocabulary[token]) for token in (begin, end)]
    )
    return str(tokenizer.to_str())


def plain_tokenizer(document: str) -> str:
    """A tokenizer's JSON without padding and truncation, which `TextSpec` decides.

    Raises:
        TextError: it is no tokenizer of the `tokenizers` library.
    """
    tokenizer = _parse(document)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return str(tokenizer.to_str())


def token_id(document: str, token: str) -> int | None:
    """The id of a token in a tokenizer's JSON, or None."""
    found: int | None = _parse(document).token_to_id(token)
    return found


class TextReader:
    """Turns texts into token ids. Threads may use one at the same time.

    Args:
        spec: what to bring texts to.

    Raises:
        TextError: the tokenizer is damaged.
    """

    def __init__(self, spec: TextSpec) -> None:
        self.spec = spec

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        tokenizer = _parse(self.spec.tokenizer)
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.spec.max_tokens)
        return tokenizer

    def read(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Token ids of each text.

        Raises:
            TextError: a text holds half a surrogate pair, which is no character.
        """
        try:
            # The library's own error for half of a character names its types only.
            "".join(texts).encode()
        except UnicodeEncodeError as error:
            raise TextError(f"the text is no valid Unicode ({error.reason})") from error
        found = self._tokenizer.encode_batch(list(texts))
        return [
            TokenizedText(ids=np.asarray(each.ids, dtype=np.int32), is_truncated=bool(each.overflowing))
            for each in found
        ]

    def stack(self, rows: Sequence[NDArray[np.int32]], *, length: int | None = None) -> NDArray[np.int32]:
        """Token ids of several texts as one array, filled up with the padding id.

        Args:
            rows: ids of each text.
            length: columns; default is what `batch_length` says of these rows.

        Returns:
            Shape (texts, length), int32.
        """
        columns = length or batch_length(max(map(len, rows), default=0), self.spec.max_tokens)
        stacked = np.full((len(rows), columns), self.spec.pad_id, dtype=np.int32)
        for number, row in enumerate(rows):
            stacked[number, : len(row)] = row
        return stacked


def batch_length(longest: int, max_tokens: int) -> int:
    """Columns of a batch: those of its longest text, rounded up to a multiple of 16, at most `max_tokens`."""
    return min(max(1, math.ceil(longest / LENGTH_STEP)) * LENGTH_STEP, max_tokens)


def decode_text(data: bytes) -> str:
    """The text in a file or a request body: UTF-8, with or without a byte-order mark.

    Raises:
        TextError: it is empty, or not UTF-8.
    """
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise TextError(f"the text is not UTF-8 (byte {error.start}: {error.reason})") from error
    if not text:
        raise TextError("the text is empty")
    return text


def text_digest(text: str) -> str:
    """SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def _parse(document: str) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(document)
    except Exception as error:
        raise TextError(f"no tokenizer of the `tokenizers` library ({error})") from error
