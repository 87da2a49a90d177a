"""What a model version's tags in MLflow hold: written from a manifest, read into a record. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from graftwork.bundle.directory import Bundle
from graftwork.registry.records import ModelVersion

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

_DIGEST_TAG = "graftwork.digest"
_JOB_TAG = "graftwork.job"
_RUN_TAG = "graftwork.run_id"
_DATA_TAG = "graftwork.data_digest"
_BACKBONE_TAG = "graftwork.backbone"
_METRICS_TAG = "graftwork.metrics"


def version_tags(bundle: Bundle) -> dict[str, str]:
    """The facts that a version carries from its first moment on."""
    manifest = bundle.manifest
    further = {
        f"{test}/{name}": value for test, metrics in manifest.extra_metrics.items() for name, value in metrics.items()
    }
    return {
        _DIGEST_TAG: bundle.digest,
        _JOB_TAG: manifest.lineage.job,
        _RUN_TAG: manifest.lineage.run_id,
        _DATA_TAG: manifest.lineage.data_digest,
        _BACKBONE_TAG: manifest.backbone.source,
        _METRICS_TAG: json.dumps({**manifest.metrics, **further}),
    }


def is_bundle_version(version: MlflowVersion) -> bool:
    """Whether a version was registered here; others may live in the same MLflow."""
    return _DIGEST_TAG in version.tags


def read_version(version: MlflowVersion, aliases: Mapping[str, int]) -> ModelVersion:
    """A version as we tell it.

    Args:
        version: as MLflow gives it.
        aliases: version by alias, of its model.
    """
    number = int(version.version)
    tags: dict[str, str] = version.tags
    created = datetime.fromtimestamp((version.creation_timestamp or 0) / 1000, UTC)
    return ModelVersion(
        name=version.name,
        version=number,
        aliases=tuple(sorted(alias for alias, target in aliases.items() if target == number)),
        created_at=created.isoformat(timespec="seconds"),
        digest=tags[_DIGEST_TAG],
        job=tags.get(_JOB_TAG, ""),
        run_id=tags.get(_RUN_TAG, ""),
        data_digest=tags.get(_DATA_TAG, ""),
        backbone=tags.get(_BACKBONE_TAG, ""),
        metrics=json.loads(tags.get(_METRICS_TAG, "{}")),
        source=version.source or "",
    )
