"""How long the core and the command line take to start, beside an empty Python, and to end, beside a plain one.

Run: .venv/bin/python -m tests.benchmarks.bench_cli_start
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

_ROUNDS = 15
_ENDS = 5


@dataclass(frozen=True, kw_only=True)
class Case:
    """Something a user waits for.

    Attributes:
        name: what it is.
        command: how to run it.
        limit_s: what is promised on a quiet machine, in seconds.
    """

    name: str
    command: tuple[str, ...]
    limit_s: float


_HELP = "import sys; sys.argv = ['graft', '--help']; from graftwork.cli.main import main; main()"
_PLAIN_END = "import mlflow, graftwork.cli.main, sys; sys.exit()"
_GRAFT_END = "import mlflow, graftwork.cli.main as graft, sys; graft.main(['--version'])"
CASES = (
    Case(name="import graftwork", command=(sys.executable, "-c", "import graftwork"), limit_s=0.1),
    Case(name="graft --help", command=(sys.executable, "-c", _HELP), limit_s=0.3),
)


def median_s(command: tuple[str, ...], *, rounds: int) -> float:
    """Median wall time of a whole process, in seconds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Print the figures."""
    empty = median_s((sys.executable, "-c", "pass"), rounds=_ROUNDS)
    print(f"{'empty Python':20} {empty * 1000:6.0f} ms")
    for case in CASES:
        took = median_s(case.command, rounds=_ROUNDS)
        print(f"{case.name:20} {took * 1000:6.0f} ms   promised {case.limit_s * 1000:.0f} ms")
    for name, code in (("MLflow, then sys.exit", _PLAIN_END), ("MLflow, then graft", _GRAFT_END)):
        print(f"{name:22} {median_s((sys.executable, '-c', code), rounds=_ENDS) * 1000:6.0f} ms from start to end")


if __name__ == "__main__":
    main()
