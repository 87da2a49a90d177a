"""Where replicas write what went wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# A process of its own: the logger is the process's.
_SCRIPT = """
import logging, sys
from graftwork_serving.replica_logging import log_where
log_where(int(sys.argv[1]))
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("graftwork_serving.web.app").exception("A prediction request failed.")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives away where a process writes")
def test_errors_are_written_where_people_look(tmp_path: Path) -> None:
    """Among the errors of the process that is named, with time and traceback, at the end of its file."""
    log = tmp_path / "serve.log"
    log.write_text("Serving.\n")
    with (
        log.open("ab") as stream,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1, stderr=stream) as other,
    ):
        subprocess.run([sys.executable, "-c", _SCRIPT, str(other.pid)], check=True)
        other.communicate(b"\n")
    first, second, *rest = log.read_text().splitlines()
    assert first == "Serving."
    assert second.endswith("ERROR graftwork_serving.web.app: A prediction request failed.")
    assert rest[-1] == "ZeroDivisionError: division by zero"


def test_without_such_a_process_they_are_its_own() -> None:
    """As on systems that do not give it away."""
    answer = subprocess.run([sys.executable, "-c", _SCRIPT, "0"], capture_output=True, text=True, check=True)
    assert "A prediction request failed." in answer.stderr
