"""How many versions of each training example a phase keeps features of. Pure numbers."""

from __future__ import annotations

from graftwork.spec.fine_tune_job import FineTuneJobSpec, Phase


def stored_views(spec: FineTuneJobSpec, phase: Phase, epochs: int) -> int:
    """Versions of each training example whose features a phase keeps; 0 when it keeps none.

    Without augmentation an example has one version. With it, as many as `features.views` says, but never more than the
    phase has epochs to show them; without that field every epoch draws afresh, and nothing is kept. Nor is it where
    pictures are mixed with others, which are other ones in every epoch, or where the same layers are frozen for fewer
    epochs than there are versions: drawing afresh is then less work.

    Args:
        spec: the job.
        phase: the phase.
        epochs: of it in which the same layers are frozen.
    """
    if spec.features.cache == "none":
        return 0
    if not spec.augment:
        return 1
    if spec.mixes:
        return 0
    views = min(spec.features.views or 0, phase.epochs)
    return views if views <= epochs else 0
