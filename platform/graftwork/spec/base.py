"""What every spec object shares: strictness, camelCase, Kubernetes-shaped metadata and cross-field checks. No I/O here.

Keys are camelCase. Values that are words are kebab-case; names of metrics are spelled as in code and reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

API_VERSION: Final = "graftwork.dev/v1alpha1"
ApiVersion = Literal["graftwork.dev/v1alpha1"]

NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
ALIAS_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
LABEL_KEY_PATTERN = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
LABEL_VALUE_PATTERN = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
DURATION_PATTERN = r"^[1-9][0-9]*[smh]$"
MODEL_PATTERN = r"^[a-z0-9*][-a-z0-9*]*$"
CRON_PATTERN = r"^[0-9A-Za-z*,/#-]+( [0-9A-Za-z*,/#-]+){4}$"
TIME_ZONE_PATTERN = r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$"
HEADER_PATTERN = r"^[A-Za-z0-9][-A-Za-z0-9_.]*$"
ORIGIN_PATTERN = r"^(\*|https?://([-a-z0-9.]+|\[[0-9a-f:.]+\])(:[0-9]+)?)$"

# What a pattern asks for, in words; error messages use these.
PATTERN_WORDS: dict[str, str] = {
    NAME_PATTERN: "a name of lower-case letters, digits and hyphens that begins and ends with a letter or digit",
    ALIAS_PATTERN: "a name of lower-case letters, digits and hyphens that begins with a letter and does not end with a "
    "hyphen",
    MODEL_PATTERN: "a model's name of lower-case letters, digits and hyphens, with `*` for any characters",
    HEADER_PATTERN: "a header's name of letters, digits, hyphens, underscores and dots",
    ORIGIN_PATTERN: "an origin as browsers send it (scheme, host and port, in lower case and without a path), such as "
    "`https://app.example.com`, or `*`",
    CRON_PATTERN: "five fields with a space between them: minute, hour, day of the month, month, day of the week",
    TIME_ZONE_PATTERN: "a time zone such as `Europe/Berlin` or `UTC`",
    DURATION_PATTERN: "a time such as `90s`, `30m` or `2h`",
    LABEL_KEY_PATTERN: "the key of a label, such as `topology.kubernetes.io/zone`",
    LABEL_VALUE_PATTERN: "a label value of letters, digits, hyphens, underscores and dots that begins and ends with a "
    "letter or digit",
    r"^[1-9][0-9]*(Mi|Gi|Ti)$": "an amount of memory such as `512Mi` or `4Gi`",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "a name of letters, digits and underscores that does not begin with a digit",
    r"^/.+$": "an absolute path",
}

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=NAME_PATTERN)]
"""A Kubernetes object name: lower-case letters, digits and hyphens."""

Alias = Annotated[str, Field(min_length=1, max_length=63, pattern=ALIAS_PATTERN)]
"""A movable name on a model version. Begins with a letter, so that it cannot be taken for a version number."""

LabelKey = Annotated[str, Field(min_length=1, max_length=317, pattern=LABEL_KEY_PATTERN)]
"""A key as Kubernetes allows it: a name, perhaps behind a domain and a slash."""
LabelValue = Annotated[str, Field(max_length=63, pattern=LABEL_VALUE_PATTERN)]
"""A Kubernetes label value."""

Text = Annotated[str, Field(min_length=1)]
"""Any text but the empty one."""

Uri = Annotated[str, Field(min_length=1)]
"""A local path (relative paths start at the spec file's folder) or any URI fsspec can read."""

PositiveInt = Annotated[int, Field(ge=1)]
"""A count of at least one."""

Fraction = Annotated[float, Field(gt=0, lt=1)]
"""A share, between 0 and 1, both excluded."""

# What a cluster adds to an object's metadata; `kubectl get -o yaml` shows it.
_CLUSTER_METADATA = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "managedFields",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)


@dataclass(frozen=True, kw_only=True)
class Inconsistency:
    """Fields that are right one by one but not together.

    Attributes:
        at: camelCase path from the model that checks to the field to change; empty for the model itself.
        received: what was found, short enough for one line.
        expected: what is allowed.
        fix: one sentence that tells what to do.
        involves: camelCase paths from the model that checks to the other fields that took part.
    """

    at: tuple[str | int, ...] = ()
    received: str
    expected: str
    fix: str
    involves: tuple[tuple[str | int, ...], ...] = ()


class InconsistentError(ValueError):
    """Raised by a model's cross-field checks.

    Attributes:
        found: all inconsistencies of the model.
    """

    def __init__(self, *found: Inconsistency) -> None:
        self.found = found
        super().__init__("; ".join(f"received {each.received}, expected {each.expected}. {each.fix}" for each in found))


def refuse_if_any(*found: Inconsistency | None) -> None:
    """Raise all inconsistencies at once; None stands for a check that passed."""
    if present := [each for each in found if each is not None]:
        raise InconsistentError(*present)


def exactly_one(model: BaseModel, *keys: str) -> Inconsistency | None:
    """Check that exactly one of some fields (camelCase) is given."""
    names = {info.alias or name: name for name, info in type(model).model_fields.items()}
    given = [key for key in keys if getattr(model, names[key]) is not None]
    if len(given) == 1:
        return None
    return Inconsistency(
        received=" and ".join(f"`{key}`" for key in given) if given else "none of them",
        expected=f"exactly one of {', '.join(f'`{key}`' for key in keys)}",
        fix="Keep one and remove the rest." if given else "Add one of them.",
        involves=tuple((key,) for key in keys),
    )


class SpecModel(BaseModel):
    """Base of all spec objects: immutable, unknown keys refused, camelCase outside and snake_case inside."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        allow_inf_nan=False,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_by_alias=True,
        validate_by_name=True,
        validate_default=True,
    )


class ObjectMeta(SpecModel):
    """Kubernetes object metadata. Keys that a cluster adds (uid, resourceVersion, ...) are left out on reading."""

    name: Name
    """Name of the object, unique among its kind."""
    namespace: Name | None = None
    """Kubernetes namespace; ignored on one machine."""
    labels: dict[str, LabelValue] = Field(default_factory=dict)
    """Kubernetes labels."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Kubernetes annotations."""

    @model_validator(mode="before")
    @classmethod
    def _without_cluster_keys(cls, given: Any) -> Any:
        return _without(given, _CLUSTER_METADATA)


class SpecObject(SpecModel):
    """Base of the kinds: an object as a cluster keeps it. A `status`, which only the cluster writes, is left out."""

    api_version: ApiVersion
    """Always `graftwork.dev/v1alpha1`."""
    metadata: ObjectMeta
    """Name and labels."""

    @model_validator(mode="before")
    @classmethod
    def _without_status(cls, given: Any) -> Any:
        return _without(given, frozenset({"status"}))


def _without(given: Any, keys: frozenset[str]) -> Any:
    if not isinstance(given, Mapping):
        return given
    return {key: value for key, value in given.items() if key not in keys}
