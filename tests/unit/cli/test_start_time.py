"""How long a user waits for the smallest things. `tests/benchmarks/bench_cli_start.py` prints the figures."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.benchmarks.bench_cli_start import CASES, Case, median_s

# Machines that run tests are busy; the promise is for a quiet one.
_PATIENCE = 3


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_starts_quickly(case: Case) -> None:
    """Importing the core and asking for help take no longer than promised."""
    assert median_s(case.command, rounds=5) < case.limit_s * _PATIENCE


@pytest.mark.parametrize("code", ["import graftwork", "from graftwork.cli.main import cli; cli(['--help'])"])
def test_start_up_imports_nothing_heavy(code: str) -> None:
    """Neither the core nor `graft --help` loads a library that is slow to load."""
    heavy = {"tensorflow", "keras", "ray", "mlflow", "openvino", "pandas", "PIL", "numpy", "pydantic", "rich", "httpx"}
    script = f"import sys, atexit\natexit.register(lambda: print(*sorted(set(sys.modules) & {heavy!r})))\n{code}"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == ""
