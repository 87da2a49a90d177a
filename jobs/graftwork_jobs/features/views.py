"""How many versions of each training example a phase keeps features of. Pure numbers."""

from __future__ import annotations

from graftwork.spec.fine_tune_job import FineTuneJobSpec, Phase


def stored_views(spec: FineTuneJobSpec, phase: Phase) -> int:
    """Versions of each training example whose features a phase keeps; 0 when it keeps none.

    Without augmentation an example has one version. With it, as many as `features.views` says, but never more than the
    phase has epochs to show them; without that field every epoch draws afresh, and nothing is kept.
    """
    if spec.features.cache == "none":
        return 0
    if not spec.augment:
        return 1
    return min(spec.features.views or 0, phase.epochs)
