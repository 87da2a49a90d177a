"""Two processes that register at the same time."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from graftwork.registry import Registry
from graftwork.settings import Settings, child_environment
from tests.support.small_bundles import make_small_bundle

pytestmark = pytest.mark.integration

# Says when it is ready, then waits for a line so that both start together.
_REGISTER = """
import sys
from pathlib import Path
import mlflow
from graftwork.registry import Registry
from graftwork.settings import load_settings
print("ready", flush=True)
sys.stdin.readline()
registration = Registry(load_settings()).register(Path(sys.argv[1]), "colours", "champion")
print(registration.version, flush=True)
"""


@pytest.mark.parametrize("database", ["new", "existing"])
def test_both_get_a_version_of_their_own(settings: Settings, tmp_path: Path, database: str) -> None:
    """Both registrations succeed with different numbers, even when they also make the database; the alias is on one."""
    if database == "existing":
        assert Registry(settings).list_models() == ()
    bundles = [make_small_bundle(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    environment = child_environment({"GRAFT_HOME": str(settings.home)})
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _REGISTER, str(bundle.path)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=environment,
                )
            )
            for bundle in bundles
        ]
        for process in processes:
            stack.callback(process.kill)
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = []
        for process in processes:
            output, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
            answers.append(int(output))
    assert sorted(answers) == [1, 2]
    registry = Registry(settings)
    assert {registry.resolve(f"colours/{number}").digest for number in (1, 2)} == {bundle.digest for bundle in bundles}
    model = registry.show_model("colours")
    assert model.aliases["champion"] in {1, 2}
    assert sorted(move.version for move in model.moves) == [1, 2]
