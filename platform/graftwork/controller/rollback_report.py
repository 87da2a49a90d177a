"""What a replica on a cluster says of the versions it gave up, as JSON on the port of its metrics. Pure.

Written by `graftwork_serving.cluster_port`, read by the operator.
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

ROLLBACKS_PATH: Final = "/rollbacks"


# A bundle's path may stand for a version; what comes from a pod must fit into a status.
_Name = Annotated[str, Field(max_length=2048)]


class _Told(BaseModel):
    """Base of what is told. Not that of status objects: a replica that wakes has no time for the models of specs."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="ignore", frozen=True, validate_by_alias=True, validate_by_name=True
    )


class GivenUpVersion(_Told):
    """A version to which an alias points, and which is not served."""

    model: _Name
    """As the spec names it, such as `flowers@champion`."""
    given_up: _Name
    """The version, as `NAME/VERSION`."""
    serving: _Name
    """What answers in its place, as `NAME/VERSION`."""
    message: Annotated[str, Field(max_length=4096)]
    """Why, for a person."""


class RollbackReport(_Told):
    """All of them, of all replicas of the endpoint."""

    given_up: Annotated[list[GivenUpVersion], Field(max_length=64)] = Field(default_factory=list)
    """Each model at most once."""
