"""From the file a user names to the one endpoint it holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from graftwork.spec.inference_endpoint import InferenceEndpoint
from graftwork.spec.load import LoadedSpec, load_only


@dataclass(frozen=True, kw_only=True)
class EndpointFile:
    """A loaded endpoint spec.

    Attributes:
        file: where it was read.
        base_dir: folder that its relative paths start at.
        endpoint: content.
        source: where each of its values stands.
    """

    file: Path
    base_dir: Path
    endpoint: InferenceEndpoint
    source: LoadedSpec


def load_endpoint(file: Path) -> EndpointFile:
    """The one InferenceEndpoint in a spec file; documents of other kinds may stand beside it.

    Raises:
        SpecError: the file is wrong, or does not hold exactly one InferenceEndpoint.
    """
    endpoint, source = load_only(file, InferenceEndpoint)
    return EndpointFile(file=file, base_dir=source.base_dir, endpoint=endpoint, source=source)
