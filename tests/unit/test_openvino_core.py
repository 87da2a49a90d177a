"""Signals reach a process that runs models."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openvino")

_ROOT = Path(__file__).resolve().parents[2]
_SIGNALLED = """
import signal
from graftwork.openvino_core import openvino_core
for _ in range(3):
    openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
signal.raise_signal(signal.SIGTERM)
print(len(heard))
"""


def test_a_signal_arrives_after_openvino_was_used() -> None:
    """Python's handlers run on the stack that OpenVINO leaves behind."""
    done = subprocess.run([sys.executable, "-c", _SIGNALLED], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_nothing_makes_another() -> None:
    """Not in the packages: two that go in the order in which they came take the stack with them."""
    sources = [*_ROOT.glob("platform/**/*.py"), *_ROOT.glob("jobs/**/*.py"), *_ROOT.glob("serving/**/*.py")]
    makers = [path.name for path in sources if re.search(r"\bCore\(\)", path.read_text())]
    assert makers == ["openvino_core.py"]
