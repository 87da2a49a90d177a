"""What replicas write: Ray Serve's parts next to nothing, and this package where its users look.

A line for each request, which nobody reads, would cost a hundredth of the requests and fill gigabytes of disk. Each
deployment has to be told: what Serve itself is started with does not reach replicas.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any, Final, TextIO

SERVE_LOGGING: Final[dict[str, Any]] = {"enable_access_log": False, "log_level": "WARNING"}
SERVE_LOG_ENVIRONMENT: Final = {"RAY_SERVE_LOG_TO_STDERR": "1"}
"""Or Serve takes what is printed for its own, and drops it below that level."""
_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def log_where(pid: int) -> None:
    """Write what this package has to say where a process writes its errors: a terminal, a file, a container's log.

    Ray keeps the output of its workers in files of its own, which nobody would look for.

    Args:
        pid: the process that people look at: the one that started the endpoint, or a container's first.
    """
    handler = logging.StreamHandler(_errors_of(pid))
    handler.setFormatter(logging.Formatter(_FORMAT))
    logger = logging.getLogger("graftwork_serving")
    logger.handlers = [handler]
    logger.propagate = False


def _errors_of(pid: int) -> TextIO:
    """Its standard error; this process's own where the system does not give that away."""
    try:
        return Path(f"/proc/{pid}/fd/2").open("a", buffering=1, encoding="utf-8")
    except OSError:
        return sys.__stderr__ or sys.stderr
