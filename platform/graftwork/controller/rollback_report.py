"""What a replica on a cluster says of the versions it gave up, as JSON on the port of its metrics. Pure.

Written by `graftwork_serving.cluster_port`, read by the operator.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field

from graftwork.spec.status import StatusModel

ROLLBACKS_PATH: Final = "/rollbacks"


class GivenUpVersion(StatusModel):
    """A version to which an alias points, and which is not served."""

    model: str
    """As the spec names it, such as `flowers@champion`."""
    given_up: str
    """The version, as `NAME/VERSION`."""
    serving: str
    """What answers in its place, as `NAME/VERSION`."""
    message: str
    """Why, for a person."""


class RollbackReport(StatusModel):
    """All of them, of all replicas of the endpoint."""

    given_up: list[GivenUpVersion] = Field(default_factory=list)
    """Each model at most once."""
