"""Where replicas write what this package has to say: where its users look, rather than in Ray's own files."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Final, TextIO

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
