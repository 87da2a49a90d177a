"""Batches of token ids: the same rows, lengths and weights on any number of workers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graftwork.preprocess.text import TextSpec, WordPieceSettings, text_digest, wordpiece_tokenizer
from graftwork_jobs.data.batch_plan import BatchPlan
from graftwork_jobs.data.index import Split
from graftwork_jobs.data.input_batches import EpochSeed
from graftwork_jobs.data.text_batches import TextBatches, global_lengths
from tests.support.tiny_bert import VOCABULARY

SPEC = TextSpec(
    tokenizer=wordpiece_tokenizer(VOCABULARY, WordPieceSettings(lowercase=True, strip_accents=True)),
    pad_id=0,
    max_tokens=40,
)
EPOCH = EpochSeed(seed=3, phase=0, epoch=1)


@pytest.fixture(scope="module")
def split() -> Split:
    random = np.random.default_rng(0)
    texts = tuple("good " * int(words) for words in random.integers(1, 60, 53))
    return Split(
        name="train",
        inputs=texts,
        targets=np.arange(53, dtype=np.int32),
        digests=tuple(text_digest(text) for text in texts),
    )


def steps(split: Split, world: int, rank: int) -> list[Any]:
    plan = BatchPlan(batch_size=8, pieces=2, rank=rank, world=world)
    return list(TextBatches(text=SPEC).training(split, plan, EPOCH, row_weights=None).as_numpy_iterator())


@pytest.mark.parametrize("world", [2, 3])
def test_workers_together_have_what_one_has(split: Split, world: int) -> None:
    """Every micro-batch is cut into the workers' parts, all of the same length."""
    alone, parts = steps(split, 1, 0), [steps(split, world, rank) for rank in range(world)]
    for number, (ids, targets, _) in enumerate(alone):
        together = [part[number] for part in parts]
        assert {part[0].shape[1] for part in together} == {ids.shape[1]}
        np.testing.assert_array_equal(np.concatenate([part[0] for part in together])[: len(ids)], ids)
        np.testing.assert_array_equal(np.concatenate([part[1] for part in together])[: len(ids)], targets)


def test_lengths_follow_the_longest_text_of_the_whole_batch() -> None:
    """All pieces of an update have one length, rounded up, at most the limit."""
    plan = BatchPlan(batch_size=4, pieces=2)
    assert global_lengths(np.array([3, 17, 2, 2, 50, 1, 4]), plan, 40).tolist() == [32, 32, 40, 40]


@pytest.mark.parametrize("world", [1, 2])
def test_evaluation_goes_through_every_text_once(split: Split, world: int) -> None:
    """Rows of all workers are the split."""
    seen = [
        target
        for rank in range(world)
        for _, targets in TextBatches(text=SPEC)
        .evaluation(split, batch_size=7, rank=rank, world=world)
        .as_numpy_iterator()
        for target in targets
    ]
    assert sorted(seen) == list(range(53))


def test_truncated_texts_are_counted(split: Split) -> None:
    """Longer than 38 words and two marks."""
    expected = sum(text.count("good") > 38 for text in split.inputs)
    assert TextBatches(text=SPEC).table(split).truncated == expected > 0


def test_nothing_is_tuned_while_texts_are_read(split: Split) -> None:
    """The end of an iterator would wait for the thread that tunes: 5 s after an epoch of 5 s."""
    dataset = TextBatches(text=SPEC).evaluation(split, batch_size=7, rank=0, world=1)
    assert not dataset.map(lambda *columns: columns).options().autotune.enabled
