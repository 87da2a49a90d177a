"""What every spec object shares: strictness, camelCase and Kubernetes-shaped metadata. No I/O here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

API_VERSION = "graftwork.dev/v1alpha1"

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A Kubernetes object name: lower-case letters, digits and hyphens."""

Uri = Annotated[str, Field(min_length=1)]
"""A local path (relative paths start at the spec file's folder) or any URI fsspec can read."""

Fraction = Annotated[float, Field(gt=0, lt=1)]
"""A share, between 0 and 1, both excluded."""


class SpecModel(BaseModel):
    """Base of all spec objects: immutable, unknown keys refused, camelCase outside and snake_case inside."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
        validate_default=True,
    )


class ObjectMeta(BaseModel):
    """Kubernetes object metadata. Keys that a cluster adds (uid, resourceVersion, ...) are accepted and left alone."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="allow", frozen=True, populate_by_name=True, use_attribute_docstrings=True
    )

    name: Name
    """Name of the object, unique among its kind."""
    namespace: str | None = None
    """Kubernetes namespace; ignored on one machine."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Kubernetes labels."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Kubernetes annotations."""


ApiVersion = Literal["graftwork.dev/v1alpha1"]
