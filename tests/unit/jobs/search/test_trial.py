from __future__ import annotations

import subprocess
import sys


def test_a_trials_process_chooses_keras_backend_itself() -> None:
    """Ray imports the module before the job's backend is known; Keras would take TensorFlow for good."""
    code = "import sys; import graftwork_jobs.search.trial; print('keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
