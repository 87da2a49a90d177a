"""What a user waits for before anything happens, and after. `tests/benchmarks/bench_cli_start.py` prints the times."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("code", ["import graftwork", "from graftwork.cli.main import cli; cli(['--help'])"])
def test_start_up_imports_nothing_heavy(code: str) -> None:
    """Neither the core nor `graft --help` loads a library that is slow to load."""
    heavy = {"tensorflow", "keras", "ray", "mlflow", "openvino", "pandas", "PIL", "numpy", "pydantic", "rich", "httpx"}
    script = f"import sys, atexit\natexit.register(lambda: print(*sorted(set(sys.modules) & {heavy!r})))\n{code}"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == ""


def test_a_command_ends_without_looking_for_garbage() -> None:
    """After MLflow or TensorFlow that takes the interpreter seconds, for memory that goes with the process anyway."""
    script = """
import gc
from graftwork.cli.main import main

class Garbage:
    def __del__(self):
        print("looked for")

gc.disable()
garbage = Garbage()
garbage.itself = garbage
del garbage
main(["--version"])
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("graft ")
    assert "looked for" not in answer.stdout
