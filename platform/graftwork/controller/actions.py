"""What the operator can do, as data; the edge carries it out. Pure.

Every action may be carried out any number of times with the same result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Apply:
    """Bring an object to what the manifest says; fields that it leaves out stay as they are.

    Attributes:
        manifest: with apiVersion, kind, metadata.name and metadata.namespace.
    """

    manifest: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Create:
    """See that there is an object of a name; one that is there stays as it is.

    Attributes:
        manifest: as of `Apply`.
    """

    manifest: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Delete:
    """See that there is no such object; one that is not ours stays.

    Attributes:
        api_version: such as `ray.io/v1`.
        kind: such as `RayJob`.
        namespace: where.
        name: which.
        uid: delete this one only, not a later namesake; None for whichever is ours.
    """

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str | None = None


@dataclass(frozen=True, kw_only=True)
class SetStatus:
    """Report on the object itself.

    Attributes:
        status: all of it.
    """

    status: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Emit:
    """Tell news about the object.

    Attributes:
        type: whether somebody should look.
        reason: CamelCase word.
        message: a sentence.
    """

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Again:
    """Look at the object again, even if nothing is seen to change.

    Attributes:
        after_s: when, in seconds.
    """

    after_s: float


Action = Apply | Create | Delete | SetStatus | Emit | Again
