"""The registered model that a new one has to hold its own against, run on the new one's test set.

Whatever is wrong with the registered model becomes a reason to go without the comparison: it never costs the new one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graftwork.bundle.directory import Bundle, replay_golden
from graftwork.bundle.manifest import OPENVINO_MODEL_FILE
from graftwork.bundle.trained_on import seen_in_training
from graftwork.preprocess.inputs import read_batch
from graftwork.preprocess.text import TextSpec
from graftwork.spec.tasks import NAMES_ARE, input_kind, target_kind
from graftwork_jobs.evaluation.comparison import Comparison, NotCompared, compare
from graftwork_jobs.export.engines import openvino_engine
from graftwork_jobs.targets.base import NotComparableError

if TYPE_CHECKING:
    from graftwork.progress import Reporter
    from graftwork.registry.store import Registry
    from graftwork_jobs.targets.base import Target, Targets

_BATCH = 32
# Of a test set, after what the other model has seen is left out; half of it where it is small.
_FEWEST = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Newcomer:
    """The new model and its test set.

    Attributes:
        task: what it does.
        run_id: of its run.
        target: what it predicts.
        predictions: of the test set.
        targets: of the test set.
        inputs: where each picture of the test set is; or the texts.
        digests: of these examples.
        locate: gives the local file of a picture.
    """

    task: str
    run_id: str
    target: Target
    predictions: NDArray[np.float32]
    targets: Targets
    inputs: Sequence[str]
    digests: Sequence[str]
    locate: Callable[[str], Path]


def compare_with_registered(
    newcomer: Newcomer, model: str, aliases: Iterable[str], registry: Registry, reporter: Reporter
) -> dict[str, Comparison | NotCompared]:
    """Run the model of each alias on the test set and compare; an alias that no version carries is left out.

    Args:
        newcomer: the new model.
        model: the registered model.
        aliases: names on its versions.
        registry: holds it.
        reporter: told how far it is, and what is wrong.

    Raises:
        RegistryError: the registry does not answer.
    """
    found: dict[str, Comparison | NotCompared] = {}
    for alias in sorted(set(aliases)):
        if registry.alias_metrics(model, alias) is None:
            continue
        try:
            found[alias] = _compare(newcomer, model, alias, registry, reporter)
        except NotComparableError as error:
            found[alias] = NotCompared(alias=alias, reason=str(error))
        except Exception as error:
            # Whatever is wrong with an old model, the new one is not lost.
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            reporter.warn(f"{model}@{alias} cannot be run on this test set, so the two are not compared: {reason}")
            found[alias] = NotCompared(alias=alias, reason=f"it cannot be run: {reason}")
    return found


def _compare(
    newcomer: Newcomer, model: str, alias: str, registry: Registry, reporter: Reporter
) -> Comparison | NotCompared:
    resolved = registry.resolve(f"{model}@{alias}")
    manifest = resolved.bundle.manifest
    if manifest.lineage.run_id == newcomer.run_id:
        return NotCompared(alias=alias, reason="it is the model of this very run", matters=False)
    _refuse_other_task(newcomer.task, manifest.task)
    fresh, note = _unseen(resolved.bundle, newcomer.digests)
    inputs = [newcomer.inputs[row] for row in fresh]
    said = bundle_predictions(resolved.bundle, inputs, newcomer.locate, reporter, name=f"{model}@{alias}")
    judged = newcomer.target.judging(manifest.output, said)
    compared = compare(
        newcomer.target,
        newcomer.predictions[fresh],
        newcomer.targets[fresh],
        judged,
        alias=alias,
        version=resolved.version or 0,
    )
    return replace(compared, notes=(*note, *compared.notes))


def _unseen(bundle: Bundle, digests: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
    """Rows of a test set that a model was not trained on, and what to say of the others."""
    seen = seen_in_training(bundle, digests)
    if seen is None:
        note = "What the other model was trained on is not known: test examples it has seen would flatter it."
        return list(range(len(digests))), (note,)
    fresh, count = [int(row) for row in np.flatnonzero(~seen)], int(seen.sum())
    if count and len(fresh) < min(_FEWEST, len(seen) / 2):
        raise NotComparableError(
            f"it was trained on {count:,} of the {len(seen):,} test examples, and {len(fresh):,} others tell too little"
        )
    note = f"{count:,} of the {len(seen):,} test examples are left out, as the other model was trained on them."
    return fresh, (note,) if count else ()


def _refuse_other_task(ours: str, theirs: str) -> None:
    if input_kind(ours) != input_kind(theirs):
        raise NotComparableError(f"it takes a {input_kind(theirs)}, the new model a {input_kind(ours)}")
    if target_kind(ours) != target_kind(theirs):
        raise NotComparableError(f"it predicts {NAMES_ARE[target_kind(theirs)]}, the new model others")


def bundle_predictions(
    bundle: Bundle, inputs: Sequence[str], locate: Callable[[str], Path], reporter: Reporter, *, name: str
) -> NDArray[np.float32]:
    """What a bundle answers to examples, read and brought into shape as it says itself.

    Args:
        bundle: an opened bundle; its golden examples are replayed first.
        inputs: where each picture is; or the texts.
        locate: gives the local file of a picture.
        reporter: told how far it is.
        name: of the model, for the reporter.

    Returns:
        Shape (examples, labels), float32.

    Raises:
        BundleError: it answers its golden examples differently than in training.
        ImageError: a picture cannot be decoded.
        TextError: a text is empty.
    """
    engine = openvino_engine(bundle.path / OPENVINO_MODEL_FILE)
    replay_golden(bundle, engine)
    found = []
    with (
        reporter.task(f"running {name} on the test set", len(inputs), "examples") as task,
        ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
    ):
        for start in range(0, len(inputs), _BATCH):
            part = inputs[start : start + _BATCH]
            found.append(engine(_read(bundle, part, locate, pool)))
            task.advance(len(part))
    return np.concatenate(found)


def _read(
    bundle: Bundle, inputs: Sequence[str], locate: Callable[[str], Path], pool: ThreadPoolExecutor
) -> NDArray[Any]:
    """A batch as the bundle's model takes it; pictures are decoded side by side."""
    if isinstance(bundle.input, TextSpec):
        return read_batch([text.encode() for text in inputs], bundle.input)
    return np.concatenate(list(pool.map(lambda uri: read_batch([locate(uri).read_bytes()], bundle.input), inputs)))
