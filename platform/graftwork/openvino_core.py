"""OpenVINO's entry point, one for the whole life of a process.

Each one brings a stack for signal handlers to the thread that makes it, and takes it away when it goes. When several
go in another order than they came, the thread is left with a stack that is no longer there, and the next signal, such
as Ctrl-C, ends the process with a segmentation fault (OpenVINO 2026.4 on Linux).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino


@cache
def openvino_core() -> openvino.Core:
    """What reads and compiles models. Options are given with each model; nothing is set on it."""
    import openvino

    return openvino.Core()
