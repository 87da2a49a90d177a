"""Token ids of texts: the reference rules of BERT, the same for one text and for many."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from graftwork.preprocess.text import (
    TextError,
    TextReader,
    TextSpec,
    WordPieceSettings,
    batch_length,
    byte_pair_tokenizer,
    decode_text,
    plain_tokenizer,
    wordpiece_tokenizer,
)
from tests.support.tiny_bert import VOCABULARY

UNCASED = WordPieceSettings(lowercase=True, strip_accents=True)
PAD, UNKNOWN, BEGIN, END = (VOCABULARY.index(token) for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]"))


def reader(max_tokens: int = 48, settings: WordPieceSettings = UNCASED) -> TextReader:
    return TextReader(TextSpec(tokenizer=wordpiece_tokenizer(VOCABULARY, settings), pad_id=PAD, max_tokens=max_tokens))


def ids(text: str) -> list[int]:
    (found,) = reader().read([text])
    return [int(number) for number in found.ids]


def by_hand(text: str) -> list[int]:
    """Greedy longest match first, word by word, as section 4.1 of Wu et al. 2016 has it."""
    plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    alone = [unicodedata.category(c).startswith("P") or "\u4e00" <= c <= "\u9fff" for c in plain]
    spaced = "".join(f" {c} " if splits else c for c, splits in zip(plain, alone, strict=True))
    found = [BEGIN]
    for word in spaced.split():
        pieces, start = [], 0
        while start < len(word):
            ends = range(len(word), start, -1)
            prefix = "##" if start else ""
            end = next((end for end in ends if prefix + word[start:end] in VOCABULARY), None)
            if end is None:
                pieces = [UNKNOWN]
                break
            pieces.append(VOCABULARY.index(prefix + word[start:end]))
            start = end
        found.extend(pieces)
    return [*found, END]


@pytest.mark.parametrize(
    "text",
    [
        "a great film",
        "Unaffable FILMS!",
        "Café, naïve; un-affable",
        "the\tplot\n\nis   good",
        "nothing known 😀 日本",
        "good\u00a0film",
        "it's not bad...",
    ],
)
def test_ids_are_those_of_the_algorithm(text: str) -> None:
    """Lower-casing, accents, punctuation and pieces follow the published algorithm."""
    assert ids(text) == by_hand(text)


def test_text_that_looks_like_a_special_token_is_text() -> None:
    """Who sends `[SEP]` does not end the input."""
    assert ids("[SEP] film")[1:-1].count(END) == 0


def test_long_texts_are_cut_off_and_told() -> None:
    """Begin and end marks count and stay; a text that just fits is whole."""
    fits, cut = reader(max_tokens=8).read(["good " * 6, "good " * 7])
    assert (fits.is_truncated, cut.is_truncated) == (False, True)
    assert len(fits.ids) == len(cut.ids) == 8
    assert (cut.ids[0], cut.ids[-1]) == (BEGIN, END)


def test_batches_are_filled_up_to_a_multiple_of_16_and_never_beyond_the_limit() -> None:
    """Few lengths, and none that the backbone could not take."""
    assert [batch_length(longest, 40) for longest in (0, 1, 16, 17, 33, 40)] == [16, 16, 16, 32, 40, 40]
    texts = reader().read(["good film", "a good film"])
    stacked = reader().stack([text.ids for text in texts])
    assert stacked.shape == (2, 16)
    np.testing.assert_array_equal(stacked[0], [*texts[0].ids, *[PAD] * 12])


def test_case_and_accents_can_be_kept() -> None:
    """A cased vocabulary sees capital letters."""
    cased = WordPieceSettings(lowercase=False, strip_accents=False)
    (found,) = reader(settings=cased).read(["Good"])
    assert found.ids.tolist() == [BEGIN, UNKNOWN, END]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b" \n", "empty"), (b"\xff\xfe", "not UTF-8"), ("é".encode("latin-1"), "UTF-8")],
)
def test_bytes_that_are_no_text_are_refused(content: bytes, message: str) -> None:
    """Nothing is guessed about encodings."""
    with pytest.raises(TextError, match=message):
        decode_text(content)


def test_a_byte_order_mark_is_no_text() -> None:
    """Editors put one in front."""
    assert decode_text("\ufeffgood film\n".encode()) == "good film"


def test_half_a_character_is_refused() -> None:
    """JSON can hold lone surrogates; no tokenizer knows them."""
    with pytest.raises(TextError, match="Unicode"):
        reader().read(["\ud800"])


def test_a_vocabulary_without_special_tokens_is_refused() -> None:
    """The tokens that are missing are named."""
    with pytest.raises(TextError, match=r"lacks \[CLS\], \[SEP\]"):
        wordpiece_tokenizer(["[UNK]", "good"], UNCASED)


def test_byte_pairs_are_merged_in_order() -> None:
    """RoBERTa's way: bytes, then the first merge that fits, a space belonging to the word after it."""
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "a": 3, "b": 4, "ab": 5, "\u0120": 6, "\u0120ab": 7}
    document = byte_pair_tokenizer(vocabulary, ["a b", "\u0120 ab"], begin="<s>", end="</s>", prefix_space=False)
    text = TextReader(TextSpec(tokenizer=document, pad_id=1, max_tokens=16))
    assert text.read(["ab ab a"])[0].ids.tolist() == [0, 5, 7, 6, 3, 2]


def test_a_damaged_tokenizer_is_refused() -> None:
    """What a bundle or a folder holds is checked."""
    with pytest.raises(TextError, match="no tokenizer"):
        plain_tokenizer("{}")
