"""Which objects are ours: those that the job or endpoint owns. All else of the same name stays as it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graftwork.errors import PermanentError, TransientError

Object = Mapping[str, Any]

_GOING_RETRY_S = 5.0


class NotOursError(PermanentError):
    """An object of a name that we need belongs to somebody else."""


def owns(thing: Object, uid: str) -> bool:
    """Whether an object belongs to the one with a uid."""
    return any(owner.get("uid") == uid for owner in _owners(thing))


def refuse_foreign(standing: Object | None, owner: Object) -> None:
    """Let an object be written only if it is ours or not there yet.

    Server-side apply would change it all the same, make it ours, and delete it together with its new owner.

    Args:
        standing: what has the name now, if anything has.
        owner: the job or endpoint that needs it.

    Raises:
        NotOursError: somebody else made it.
        TransientError: a namesake of the owner did, and both are being deleted.
    """
    if standing is None or owns(standing, owner["metadata"]["uid"]):
        return
    what = f"{standing['kind']} {standing['metadata']['name']}"
    kind, name = owner["kind"], owner["metadata"]["name"]
    if any((each.get("kind"), each.get("name")) == (kind, name) for each in _owners(standing)):
        raise TransientError(f"{what} of the {kind} {name} before this one is being deleted.", delay_s=_GOING_RETRY_S)
    raise NotOursError(
        f"There is a {what} that this {kind} did not make, and it needs one of that name. Rename the {kind}, or delete "
        "that object."
    )


def _owners(thing: Object) -> list[Mapping[str, Any]]:
    return thing["metadata"].get("ownerReferences") or []
