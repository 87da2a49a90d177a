"""Runs in place of the HAProxy binary: closes ports that its configuration opens to everyone.

Ray Serve renders a statistics page and a metrics exporter on all interfaces, without authentication, and has no setting
against it; it does let the binary's path be set. Run by path with the interpreter's isolated mode: only the standard
library may be imported here.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

_UNWANTED = frozenset({"frontend prometheus", "listen stats"})
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def without_open_ports(text: str) -> str:
    """The configuration without the sections that nobody here asked for."""
    kept: list[str] = []
    is_wanted = True
    for line in text.splitlines(keepends=True):
        if line[:1] not in {" ", "\t", "#", "\n", ""}:  # sections begin in the first column
            is_wanted = line.strip() not in _UNWANTED
        if is_wanted:
            kept.append(line)
    return "".join(kept)


def shim_script(python: str, binary: str) -> str:
    """A shell script that runs this module as if it were HAProxy."""
    return f'#!/bin/sh\nexec "{python}" -I -S "{Path(__file__).resolve()}" "{binary}" "$@"\n'


def main(arguments: list[str]) -> None:
    """Rewrite the file after `-f` and run the binary."""
    binary, options = arguments[0], arguments[1:]
    config = Path(options[options.index("-f") + 1])
    config.write_text(without_open_ports(config.read_text()))
    _die_with_parent()
    os.execv(binary, [binary, *options])  # noqa: S606 (no shell is wanted)


def _die_with_parent() -> None:
    """If the manager is killed, its HAProxy must not go on listening."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1:])
