"""What Ray tells of lost processes goes to the log: it would print it among a command's output, JSON or not."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

_logger = logging.getLogger(__name__)


def log_ray_messages() -> None:
    """Log from now on what Ray tells of errors, for which it has no setting. Call it before Ray starts."""
    from ray._private import worker

    worker.print_to_stdstream = _log


def _log(message: Mapping[str, Any], ignore_prefix: bool) -> None:  # noqa: FBT001 (as Ray calls it)
    _logger.info("%s", "\n".join(message["lines"]))
