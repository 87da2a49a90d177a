"""The backbone of a job, whatever goes into it."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from graftwork.preprocess.image import ImageSpec
from graftwork.preprocess.inputs import InputSpec
from graftwork.progress import Reporter
from graftwork.spec.fine_tune_job import FineTuneJobSpec
from graftwork.spec.tasks import input_kind
from graftwork_jobs.model.backbone import LoadedBackbone, LoadedTextBackbone, load_backbone

AnyBackbone: TypeAlias = LoadedBackbone | LoadedTextBackbone
"""A pre-trained network for pictures or for texts."""


def load_job_backbone(
    spec: FineTuneJobSpec, *, base_dir: Path, weights_dir: Path, reporter: Reporter
) -> tuple[AnyBackbone, InputSpec]:
    """The backbone, and what examples are brought to for it.

    Args:
        spec: of the job.
        base_dir: the spec file's folder, where relative paths start.
        weights_dir: cache of downloads; may be filled in advance.
        reporter: shows downloads.

    Raises:
        SpecError: it cannot be found or is unsuitable.
    """
    if input_kind(spec.task) == "text":
        # Brings KerasHub, which jobs on pictures seldom need.
        from graftwork_jobs.model.text_backbone import load_text_backbone

        text = load_text_backbone(
            spec.backbone,
            pooling=spec.head.pooling,
            max_tokens=spec.input.max_tokens,
            base_dir=base_dir,
            weights_dir=weights_dir,
            reporter=reporter,
            seed=spec.training.seed,
        )
        return text, text.text
    size = spec.input.image_size
    image = load_backbone(
        spec.backbone,
        image_size=(size[0], size[1]) if size else None,
        base_dir=base_dir,
        weights_dir=weights_dir,
        reporter=reporter,
        seed=spec.training.seed,
    )
    height, width = image.image_size
    return image, ImageSpec(height=height, width=width, resize=spec.input.resize)


def backbone_trains_as_in_training(spec: FineTuneJobSpec) -> bool:
    """Whether the backbone runs in training mode.

    Text backbones do: their unfrozen dropout layers act, and they have no BatchNorm. Backbones for pictures do if
    `training.batchNorm` says that unfrozen BatchNorm layers use and update batch statistics.
    """
    if input_kind(spec.task) == "text":
        return True
    match spec.training.batch_norm:
        case "auto":
            return spec.backbone.weights == "none"
        case mode:
            return mode == "train"
