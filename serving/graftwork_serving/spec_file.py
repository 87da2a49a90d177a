"""From the file a user names to the one endpoint it holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from graftwork.errors import Problem, SpecError
from graftwork.spec.inference_endpoint import InferenceEndpoint
from graftwork.spec.load import load_specs


@dataclass(frozen=True, kw_only=True)
class EndpointFile:
    """A loaded endpoint spec.

    Attributes:
        file: where it was read.
        base_dir: folder that its relative paths start at.
        endpoint: content.
    """

    file: Path
    base_dir: Path
    endpoint: InferenceEndpoint


def load_endpoint(file: Path) -> EndpointFile:
    """The one InferenceEndpoint in a spec file; documents of other kinds may stand beside it.

    Raises:
        SpecError: the file is wrong, or does not hold exactly one InferenceEndpoint.
    """
    found = [
        EndpointFile(file=file, base_dir=spec.base_dir, endpoint=spec.object)
        for spec in load_specs([file])
        if isinstance(spec.object, InferenceEndpoint)
    ]
    if len(found) != 1:
        raise SpecError(
            Problem(
                file=str(file),
                where="kind",
                received=f"{len(found)} InferenceEndpoint documents",
                expected="exactly one",
                fix="Put each endpoint into a file of its own." if found else "Name a file with an InferenceEndpoint.",
            )
        )
    return found[0]
